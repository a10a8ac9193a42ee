"""Trying a workflow, or a draft of one, without effects: resolved inputs, branches taken, nothing stored."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from litestar import Router, post
from litestar.params import FromPath

from libs.common.actions.installed import kind_of_action
from libs.common.clock import new_id
from libs.common.db.webhook_calls import StoredCall, find_call
from libs.common.db.workflows import find_workflow
from libs.common.domain.action_type import ActionKind
from libs.common.domain.conditions import compile_conditions
from libs.common.domain.dry_run import DryRun, dry_run
from libs.common.domain.execution import AttemptRecord
from libs.common.domain.frames import MAX_ITEMS
from libs.common.domain.masking import MASK
from libs.common.domain.planner import compile_program
from libs.common.domain.run import Run
from libs.common.domain.scope import build_scope
from libs.common.domain.secret_names import secret_names
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import compile_template
from libs.common.domain.trigger import MAX_WEBHOOK_BYTES, TriggerSpec
from libs.common.domain.workflow import Definition
from libs.common.errors import Fault, InvalidInput, NotFound, SignalboxError
from libs.common.webhook_payloads import read_payload
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object, to_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.publishing import check_definition

_decode_definition = msgspec.json.Decoder(Definition).decode


class WebhookCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to try with; header names in lower case."""

    body: Any = None
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    method: str = "POST"


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to try with: `input` (a manual run), `webhook`, `webhook_log_id` (a call that came in), or `scheduled_for`.

    `definition`: a draft in place of the stored workflow. `outputs`: what the effects give, by the key of their action.
    """

    input: dict[str, Any] | None = None
    webhook: WebhookCall | None = None
    webhook_log_id: UUID | None = None
    scheduled_for: datetime | None = None
    definition: dict[str, Any] | None = None
    outputs: dict[str, Any] = {}


class TriedAction(msgspec.Struct, frozen=True):
    """One attempt that would be made. `stubbed`: it has an effect, and its output was made up."""

    key: str
    type: str
    index: int
    attempt: int
    status: str
    stubbed: bool
    input: Any
    output: Any
    error: Any
    why: str | None
    wake_at: datetime | None


class Tried(msgspec.Struct, frozen=True):
    """How it would go. `starts`: whether a trigger's conditions hold, so that it would start at all."""

    starts: bool
    status: str
    output: Any
    error: Any
    finished_at: datetime
    actions: list[TriedAction]


BODIES = (Trial,)


@post(
    "/workflows/{workflow_id:uuid}/test", operation_class=takes(Trial, required=False), status_code=200,
    responses=problems(400, 403, 404, 422), summary="Try a workflow without effects",
)  # fmt: skip
async def test_workflow(request: AnyRequest, workflow_id: FromPath[UUID]) -> Tried:
    """Runs the workflow with stubbed effects and a clock that jumps over every wait. Nothing is stored."""
    trial = to_struct(await read_object(request), Trial) if await request.body() else Trial()
    caller = caller_of(request)
    async with tenant_of(request).transaction() as connection:
        stored = await find_workflow(connection, caller.tenant_id, workflow_id)
        if stored is None:
            raise NotFound("There is no such workflow.")
        call = None
        if trial.webhook_log_id is not None:
            call = await find_call(connection, caller.tenant_id, trial.webhook_log_id)
            if call is None:
                raise InvalidInput([Fault("webhook_log_id", "there is no such call")])
    definition = _decode_definition(stored.definition) if trial.definition is None else _draft(trial.definition)
    kind, data = _data(trial, call)
    trigger = next((one for one in definition.triggers if one.type == kind), None)
    shown = {"id": None, "type": kind, "key": trigger.key if trigger else ""}
    workflow = {"id": str(workflow_id), "name": definition.name, "version": stored.version}
    scope = build_scope(shown, data, {"id": str(new_id())}, workflow, {"id": str(caller.tenant_id)})
    scope = _transformed(trigger, scope)
    scope["secrets"] = dict.fromkeys(secret_names(definition), MASK)
    now = trial.scheduled_for or parts_of(request).clock.now()
    run = Run(new_id(), compile_program(definition, kind_of_action), scope, now)
    result = await asyncio.to_thread(dry_run, run, now, trial.outputs)
    return _answer(result, starts=_starts(trigger, scope))


def _draft(raw: dict[str, Any]) -> Definition:
    """A draft as a definition. Raises `InvalidInput` with every fault, below `definition`."""
    try:
        return check_definition(raw)
    except InvalidInput as error:
        raise InvalidInput([Fault(f"definition.{fault.path}", fault.message) for fault in error.faults]) from None


def _data(trial: Trial, call: StoredCall | None) -> tuple[str, Any]:
    """The kind of trigger, and what it brings."""
    given = [
        name for name in ("input", "webhook", "webhook_log_id", "scheduled_for") if getattr(trial, name) is not None
    ]
    if len(given) > 1:
        raise InvalidInput([Fault(given[1], f"only one of {', '.join(given)} may be given")])
    if call is not None:
        query = dict(parse_qsl(call.query, keep_blank_values=True))
        headers = msgspec.json.decode(call.headers)
        body = _value(call.body or b"", headers)
        return "webhook", {"method": call.method, "query": query, "headers": headers, "body": body}
    if trial.webhook is not None:
        return "webhook", msgspec.to_builtins(trial.webhook)
    if trial.scheduled_for is not None:
        return "schedule", {"scheduled_for": trial.scheduled_for.isoformat()}
    return "manual", trial.input or {}


def _value(body: bytes, headers: Mapping[str, str]) -> Any:
    """The body as the call's run sees it; of one that cannot be read, the text."""
    try:
        kind, encoding = headers.get("content-type", ""), headers.get("content-encoding", "")
        return read_payload(kind, encoding, body, MAX_WEBHOOK_BYTES).value
    except SignalboxError:
        return body.decode(errors="replace")


def _transformed(trigger: TriggerSpec | None, scope: dict[str, Any]) -> dict[str, Any]:
    """The scope with the input that the trigger makes of the call. Raises `InvalidInput` when it can't."""
    transform: object = trigger.config.get("transform") if trigger is not None and trigger.type == "webhook" else None
    if transform is None:
        return scope
    try:
        return {**scope, "input": compile_template(transform).render(scope)}
    except TemplateError as error:
        raise InvalidInput([Fault("transform", error.detail)]) from None


def _starts(trigger: TriggerSpec | None, scope: dict[str, Any]) -> bool:
    return trigger is None or not trigger.conditions or compile_conditions(trigger.conditions).matches(scope)


def _answer(result: DryRun, *, starts: bool) -> Tried:
    end = result.end
    actions = [_action(record) for record in result.records]
    return Tried(starts, end.status.value, end.output, end.failure, result.finished_at, actions)


def _action(record: AttemptRecord) -> TriedAction:
    skipped = record.status == "skipped" and record.error is not None
    stubbed = kind_of_action(record.type, record.input or {}) is not ActionKind.PURE
    return TriedAction(
        record.key, record.type, record.iteration % MAX_ITEMS, record.attempt, record.status.value,
        stubbed, record.input, record.output, None if skipped else record.error,
        record.error.message if skipped and record.error else None, record.wake_at,
    )  # fmt: skip


ROUTER = Router(
    "/api/v1",
    route_handlers=[test_workflow],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Workflows"],
)
