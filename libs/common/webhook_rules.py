"""What becomes of a webhook call that may come in: transform ─ schema ─ conditions ─ event, and the input of the run.

The same for a call that comes in, one that is replayed and one that is tried. No call is let through by an error: a
template that cannot be evaluated refuses the call, a condition that cannot be does not hold.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
import structlog

from libs.common.domain.conditions import Conditions, compile_conditions
from libs.common.domain.event_names import is_pattern
from libs.common.domain.events import MAX_DATA_BYTES
from libs.common.domain.faults import is_object
from libs.common.domain.functions import plain_text
from libs.common.domain.json_schema import instance_faults
from libs.common.domain.scope import build_scope
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import Template, compile_template
from libs.common.domain.trigger import WebhookConfig
from libs.common.errors import Fault, InvalidInput, SignalboxError
from libs.common.webhook_payloads import Payload

ACCEPTED, NO_MATCH, CONDITION_ERROR = "accepted", "no_match", "condition_error"
MAX_DEDUPE_CHARACTERS = 1_024

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Facts(msgspec.Struct, frozen=True):
    """The trigger that is called, with what templates see of its surroundings."""

    tenant_id: UUID
    tenant_slug: str
    id: UUID
    key: str
    workflow_id: UUID
    workflow_name: str
    version: int


class Rules(msgspec.Struct, frozen=True):
    """A trigger's own rules, ready to be applied. `schema`: the workflow's `input_schema`."""

    conditions: Conditions | None = None
    transform: Template | None = None
    dedupe_key: Template | None = None
    event: Template | None = None
    answer: Template | None = None
    schema: dict[str, Any] | bool | None = None


class Judged(msgspec.Struct, frozen=True):
    """`outcome`: `accepted`, or what kept the call from starting anything; `error`: what the caller of a refused call
    gets. `data`: what the run would see as `webhook`; `event`: the name of the event to raise.
    """

    outcome: str
    data: dict[str, Any]
    error: SignalboxError | None = None
    event: str | None = None


def make_rules(config: WebhookConfig, conditions: Any, schema: dict[str, Any] | bool | None) -> Rules:
    """The rules of an accepted trigger. `conditions` as in the definition."""

    def compiled(raw: Any) -> Template | None:
        return None if raw is None else compile_template(raw)

    return Rules(
        compile_conditions(conditions) if conditions else None, compiled(config.transform),
        compiled(config.dedupe_key), compiled(config.event), compiled(config.response.body), schema,
    )  # fmt: skip


def call_data(method: str, trigger_id: UUID, query: str, headers: Mapping[str, str], body: Any) -> dict[str, Any]:
    """The call as runs see it. The address is as it is without a token: what templates see is stored and sent on."""
    return {
        "method": method,
        "url": f"/webhooks/{trigger_id}",
        "query": dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        "headers": headers,
        "body": body,
    }


def scope_of(facts: Facts, data: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What the templates and conditions of the trigger see."""
    return {
        **build_scope(
            {"id": str(facts.id), "type": "webhook", "key": facts.key},
            data,
            {},
            {"id": str(facts.workflow_id), "name": facts.workflow_name, "version": facts.version},
            {"id": str(facts.tenant_id), "slug": facts.tenant_slug},
        ),
        "now": now,
    }


def judge(rules: Rules, facts: Facts, data: dict[str, Any], now: datetime) -> Judged:
    """What becomes of the call. Changes nothing that it is given."""
    if rules.transform is not None:
        try:
            data = {**data, "input": rules.transform.render(scope_of(facts, data, now))}
            _encode(data["input"])
        except (TemplateError, TypeError, ValueError, RecursionError) as error:
            return Judged("transform", data, _unfit("config.transform", error))
    if rules.schema is not None:
        faults = instance_faults(rules.schema, data.get("input", data["body"]), "input")
        if faults:
            return Judged("schema", data, InvalidInput(faults, "The call does not fit the workflow's input_schema."))
    if rules.conditions is not None and (failed := _failed_condition(rules.conditions, facts, data, now)) is not None:
        return Judged(failed, data)
    if rules.event is None:
        return Judged(ACCEPTED, data)
    try:
        return Judged(ACCEPTED, data, event=_event_name(rules.event, facts, data, now))
    except (TemplateError, ValueError) as error:
        return Judged("event", data, _unfit("config.event", error))


def dedupe_id(rules: Rules, facts: Facts, data: Mapping[str, Any], now: datetime) -> str | None:
    """What the trigger's `dedupe_key` makes of the call; None when it has none, or this call brings nothing for it."""
    if rules.dedupe_key is None:
        return None
    try:
        value = rules.dedupe_key.render(scope_of(facts, data, now))
        text = "" if value is None else plain_text(value)
    except (TemplateError, ValueError):
        return None
    return text[:MAX_DEDUPE_CHARACTERS] or None


def input_json(data: Mapping[str, Any], headers_json: bytes, payload: Payload) -> bytes:
    """The data as JSON text; what is JSON already is taken as it stands."""
    return _encode({**data, "headers": msgspec.Raw(headers_json), "body": msgspec.Raw(payload.json)})


def event_data(data: Mapping[str, Any]) -> str:
    """The data of the event that a call raises, JSON text: its input, as an object."""
    value: object = data.get("input", data["body"])
    return _encode(value if is_object(value) else {"body": value}).decode()


def _failed_condition(conditions: Conditions, facts: Facts, data: dict[str, Any], now: datetime) -> str | None:
    """The outcome of a call that starts nothing, or None. A condition that this call lets nobody evaluate (a template
    names what it does not bring) does not hold, and is told apart in the log.
    """
    try:
        return None if conditions.matches(scope_of(facts, data, now)) else NO_MATCH
    except TemplateError as error:
        _log.info("condition failed", tenant_id=facts.tenant_id, trigger_id=facts.id, expression=error.expression[:200])
        return CONDITION_ERROR


def _event_name(event: Template, facts: Facts, data: dict[str, Any], now: datetime) -> str:
    """Raises `ValueError` or `TemplateError` when there is no event to raise."""
    name = event.render(scope_of(facts, data, now))
    if not isinstance(name, str) or name.endswith("*") or not is_pattern(name):
        raise ValueError(f"gives no name of an event, but {str(name)[:100]!r}")
    if len(event_data(data)) > MAX_DATA_BYTES:
        raise ValueError(f"the data of an event is at most {MAX_DATA_BYTES // 1024} KiB")
    return name


def _unfit(path: str, error: Exception) -> InvalidInput:
    reason = error.detail if isinstance(error, TemplateError) else str(error)
    return InvalidInput([Fault(path, reason[:400])], "The call does not fit the trigger.")
