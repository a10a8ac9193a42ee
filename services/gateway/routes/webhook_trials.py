"""Trying a webhook trigger with a sample, or any other call, behind the check of who sent it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath

from libs.common.clock import new_id
from libs.common.db.triggers import StoredTrigger
from libs.common.db.webhook_calls import Replayable
from libs.common.db.workflows import find_workflow
from libs.common.domain.webhook_samples import SAMPLES, Sample, sample_for
from libs.common.domain.workflow import Definition
from libs.common.errors import Fault, InvalidInput, NotFound
from libs.common.webhook_rules import ACCEPTED
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object, to_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.replaying import TESTED, HowToReplay, body_bytes, prepare, version_key
from services.gateway.routes.running import traceparent_of
from services.gateway.routes.webhook_logs import find_webhook

_decode_definition = msgspec.json.Decoder(Definition).decode


class TryTrigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to try: a `sample` by its name, or `body` and the like; nothing at all: the sample of the trigger's
    preset. `execute`: start the workflow, too.
    """

    sample: str | None = None
    body: Any = msgspec.UNSET
    headers: dict[str, str] = {}
    query: str = ""
    method: str = "POST"
    execute: bool = False


class TriedTrigger(msgspec.Struct, frozen=True):
    """What would become of the call: the input that the workflow would see, and the event that would be raised."""

    outcome: str
    input: Any
    event: str | None
    execution_id: UUID | None


class WebhookSamples(msgspec.Struct, frozen=True):
    """Samples by name; names are those of the types of auth, and `generic`."""

    items: Mapping[str, Sample]


BODIES = (TryTrigger,)


@post(
    "/triggers/{trigger_id:uuid}/test", operation_class=takes(TryTrigger, required=False), status_code=200,
    responses=problems(400, 403, 404, 409, 422), summary="Try a webhook trigger",
)  # fmt: skip
async def test_trigger(request: AnyRequest, trigger_id: FromPath[UUID]) -> TriedTrigger:
    """What would become of a call behind its credential check. Without `execute` nothing is stored or started."""
    body = to_struct(await read_object(request), TryTrigger) if await request.body() else TryTrigger()
    caller, parts, how = caller_of(request), parts_of(request), HowToReplay("latest", conditions=True)
    async with tenant_of(request).transaction() as connection:
        row = await find_webhook(request, connection, trigger_id)
        stored = await find_workflow(connection, caller.tenant_id, row.workflow_id)
    if stored is None:
        raise NotFound("There is no such trigger.")
    call = _tried(body, row)
    call = msgspec.structs.replace(
        call, workflow_name=stored.name, enabled=stored.enabled or not body.execute, latest_version=stored.version
    )
    definitions = {version_key(caller.tenant_id, call, how.version): _decode_definition(stored.definition)}
    prepared = prepare(parts, caller, call, definitions, how, traceparent_of(request))
    execution_id = None
    if body.execute and prepared.judged.outcome == ACCEPTED:
        execution_id = await parts.acceptor.accept_call(prepared.arrival(TESTED, None))
    data = prepared.judged.data
    return TriedTrigger(
        prepared.judged.outcome, data.get("input", data["body"]), prepared.judged.event, execution_id
    )  # fmt: skip


@get("/webhook-samples", responses=problems(400, 403), summary="List samples of webhook calls", sync_to_thread=False)
def list_samples() -> WebhookSamples:
    """What the vendors of the presets send, to try a trigger with."""
    return WebhookSamples(SAMPLES)


def _tried(body: TryTrigger, row: StoredTrigger) -> Replayable:
    """The call to try. Raises `InvalidInput` for a sample that there is not."""
    if body.sample is not None and body.sample not in SAMPLES:
        raise InvalidInput([Fault("sample", f"must be one of {', '.join(SAMPLES)}")])
    auth: Mapping[str, Any] = msgspec.json.decode(row.config).get("auth") or {}
    given = Sample({"content-type": "application/json"}, body.body)
    sample = SAMPLES[body.sample] if body.sample else sample_for(auth.get("type", ""))
    sample = sample if body.body is msgspec.UNSET else given
    headers = {**sample.headers, **{name.lower(): value for name, value in body.headers.items()}}
    raw = body_bytes(sample.body, headers)
    return Replayable(
        new_id(), body.method, body.query, msgspec.json.encode(headers).decode(), raw, len(raw), None, row.id, row.key,
        row.workflow_id, "", True, 0, "",
    )  # fmt: skip


ROUTER = Router(
    "/api/v1",
    route_handlers=[test_trigger, list_samples],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Webhook calls"],
)
