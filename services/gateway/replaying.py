"""Webhook calls once more: those that came in, as they came in, and ones that are only tried.

A replay goes the way of the call behind its checks: transform, schema, conditions, event. Its credential was checked
when it came, or it was refused for it and somebody decides now that it counts after all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from libs.common.accept import Arrival, NewExecution
from libs.common.clock import new_id
from libs.common.db.accepting import CallRow
from libs.common.db.pool import Connection
from libs.common.db.versions import VersionKey, load_versions
from libs.common.db.webhook_calls import Replayable
from libs.common.domain.events import NewEvent
from libs.common.domain.faults import is_object
from libs.common.domain.trigger import WebhookConfig, webhook_config
from libs.common.domain.workflow import Definition
from libs.common.errors import Conflict, InvalidInput, SignalboxError
from libs.common.webhook_payloads import Payload, read_payload
from libs.common.webhook_rules import (
    ACCEPTED,
    Facts,
    Judged,
    Rules,
    call_data,
    event_data,
    input_json,
    judge,
    make_rules,
)
from services.gateway.parts import Caller, GatewayParts

REPLAYED, TESTED = "replayed", "tested"

Definitions = Mapping[VersionKey, Definition]

_decode_definition = msgspec.json.Decoder(Definition).decode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode
_encode = msgspec.json.Encoder().encode


class HowToReplay(msgspec.Struct, frozen=True):
    """`latest`: on the newest version of the workflow. `conditions`: whether those of the trigger must hold."""

    version: Literal["original", "latest"]
    conditions: bool


class Prepared(msgspec.Struct, frozen=True):
    """A call that was judged once more, and what it would start."""

    call: Replayable
    config: WebhookConfig
    judged: Judged
    new: NewExecution

    def arrival(self, outcome: str, replay_of: UUID | None) -> Arrival:
        """As it is committed; no delivery is named: it is meant to count again."""
        event = self.judged.event
        raised = None if event is None else NewEvent(
            self.new.tenant_id, new_id(), event, event_data(self.judged.data), "webhook", actor=self.new.actor,
            traceparent=self.new.traceparent,
        )  # fmt: skip
        return Arrival(self.new, self.row(outcome, replay_of, self.new.id), event=raised)

    def row(self, outcome: str, replay_of: UUID | None, execution_id: UUID | None) -> CallRow:
        """As it is logged."""
        call, body = self.call, self.call.body or b""
        return CallRow(
            self.new.tenant_id, new_id(), call.trigger_id, execution_id, outcome, 202, call.method, call.query,
            call.headers, body, "", "", 0, body_bytes=len(body), version=self.new.version, replay_of=replay_of,
        )  # fmt: skip


async def load_definitions(
    connection: Connection, tenant_id: UUID, calls: Sequence[Replayable], how: HowToReplay
) -> Definitions:
    """The versions on which these calls run again."""
    keys = {version_key(tenant_id, call, how.version) for call in calls}
    rows = await load_versions(connection, sorted(keys)) if keys else []
    return {VersionKey(row.tenant_id, row.workflow_id, row.version): _decode_definition(row.definition) for row in rows}


def version_key(tenant_id: UUID, call: Replayable, wanted: str) -> VersionKey:
    """The version on which the call runs again."""
    original = call.original_version if wanted == "original" else None
    return VersionKey(tenant_id, call.workflow_id, original or call.latest_version)


def prepare(
    parts: GatewayParts, caller: Caller, call: Replayable, definitions: Definitions, how: HowToReplay, traceparent: str
) -> Prepared:
    """Judge the call once more. Raises `Conflict` when it can't be replayed, or the error that refuses it."""
    key = version_key(caller.tenant_id, call, how.version)
    spec = next((one for one in definitions[key].triggers if one.key == call.key), None) if key in definitions else None
    if spec is None or spec.type != "webhook":
        raise Conflict(f"Version {key.version} of the workflow has no such webhook trigger.")
    if not call.enabled:
        raise Conflict("The workflow is disabled.")
    config = webhook_config(spec)
    rules = make_rules(config, spec.conditions if how.conditions else None, definitions[key].input_schema)
    facts = Facts(
        caller.tenant_id, call.tenant_slug, call.trigger_id, call.key, call.workflow_id, call.workflow_name,
        key.version,
    )  # fmt: skip
    payload, judged = _judge(parts, rules, facts, call)
    new = NewExecution(
        caller.tenant_id, call.workflow_id, key.version, call.trigger_id, call.key, "webhook",
        input_json(judged.data, call.headers.encode(), payload), caller.actor, traceparent,
    )  # fmt: skip
    return Prepared(call, config, judged, new)


def _judge(parts: GatewayParts, rules: Rules, facts: Facts, call: Replayable) -> tuple[Payload, Judged]:
    if call.body is None:
        raise Conflict("The body of this call was never read.")
    if call.body_bytes is not None and len(call.body) < call.body_bytes:
        raise Conflict("Only the beginning of the body of this call was kept.")
    headers = _decode_headers(call.headers)
    kind, encoding = headers.get("content-type", ""), headers.get("content-encoding", "")
    payload = read_payload(kind, encoding, call.body, parts.settings.max_body_bytes)
    data = call_data(call.method, call.trigger_id, call.query, headers, payload.value)
    judged = judge(rules, facts, data, parts.clock.now())
    if judged.error is not None:
        raise judged.error
    return payload, judged


class Replay(msgspec.Struct, frozen=True):
    """What became of one call. `execution_id`: None when it started nothing; `detail`: why not."""

    id: UUID
    outcome: str
    execution_id: UUID | None
    detail: str


async def replay(
    parts: GatewayParts, caller: Caller, call: Replayable, definitions: Definitions, how: HowToReplay, traceparent: str
) -> Replay:
    """Start it, if it starts something; on record either way. Raises as `prepare`, and `Unavailable`."""
    prepared = prepare(parts, caller, call, definitions, how, traceparent)
    if prepared.judged.outcome != ACCEPTED:
        await parts.acceptor.log_call(prepared.row(prepared.judged.outcome, call.id, None))
        return Replay(call.id, prepared.judged.outcome, None, "The conditions of the trigger do not hold.")
    execution_id = await parts.acceptor.accept_call(prepared.arrival(REPLAYED, call.id))
    return Replay(call.id, REPLAYED, execution_id, "")


def refusal(call_id: UUID, error: SignalboxError) -> Replay:
    """One of many that could not be replayed."""
    faults = "; ".join(f"{one.path}: {one.message}" for one in error.faults) if isinstance(error, InvalidInput) else ""
    return Replay(call_id, error.slug, None, f"{error.detail} {faults}".strip())


def body_bytes(body: Any, headers: Mapping[str, str]) -> bytes:
    """A tried body as it would come: text as it stands, a form as one, anything else as JSON."""
    if body is None:
        return b""
    if isinstance(body, str) and not headers.get("content-type", "").startswith("application/json"):
        return body.encode(errors="replace")
    if is_object(body) and headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return urlencode(body, doseq=True).encode()
    return _encode(body)
