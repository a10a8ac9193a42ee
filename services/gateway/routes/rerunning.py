"""Running an execution again from the action that failed."""

from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, post
from litestar.params import FromPath

from libs.common.actions.installed import is_pure
from libs.common.bus.messages import Ready
from libs.common.clock import new_id
from libs.common.db.pool import Connection
from libs.common.db.rerunning import KeptAction, Repeatable, find_repeatable, repeat_execution
from libs.common.db.workflows import find_version
from libs.common.domain.execution import TERMINAL, ExecutionStatus
from libs.common.domain.frames import MAX_ITEMS
from libs.common.domain.json_schema import instance_faults
from libs.common.domain.workflow import Definition, action_places
from libs.common.errors import Conflict, InvalidInput, NotFound
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object, to_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.routes.running import traceparent_of

_PAYLOAD = {"webhook": "body", "event": "data", "workflow": "data", "failure": "data"}
"""Where in a trigger's data that stands which templates see as `input`."""

_decode_definition = msgspec.json.Decoder(Definition).decode


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to run again. Without `input` the old one is used; `latest`: on the newest version of the workflow."""

    input: Any = msgspec.UNSET
    version: Literal["original", "latest"] = "original"


class EffectDone(msgspec.Struct, frozen=True):
    """An effect that happened in an earlier run and is not repeated."""

    key: str
    type: str
    index: int


class Retried(msgspec.Struct, frozen=True):
    """The new execution. `effects_done`: what the earlier runs did out there, which will not be done again."""

    execution_id: UUID
    effects_done: list[EffectDone]
    status: str = "pending"


BODIES = (Retry,)


@post(
    "/executions/{execution_id:uuid}/retry", operation_class=takes(Retry, required=False), status_code=202,
    responses=problems(400, 402, 403, 404, 409, 413, 422), summary="Run an execution again from where it failed",
)  # fmt: skip
async def retry(request: AnyRequest, execution_id: FromPath[UUID]) -> Response[Retried]:
    """A new execution that keeps what was completed and goes on from there. Calls carry the same `Idempotency-Key` as
    in the first run. 409 when the execution has not ended, or has completed.
    """
    body = to_struct(await read_object(request), Retry) if await request.body() else Retry()
    caller, fresh_id, traceparent = caller_of(request), new_id(), traceparent_of(request)
    await parts_of(request).limits.admit_start(caller.tenant_id, len(await request.body()))
    async with tenant_of(request).transaction() as connection:
        source = await find_repeatable(connection, caller.tenant_id, execution_id)
        version = _version(source, body.version)
        assert source is not None  # _version has looked
        definition = await _definition(connection, caller.tenant_id, source.workflow_id, version)
        kept = await repeat_execution(
            connection, caller.tenant_id, execution_id, new_id=fresh_id, version=version,
            input_json=_input(source, body.input, definition), actor=caller.actor, traceparent=traceparent,
            actions=action_places(definition),
        )  # fmt: skip
        await note(connection, "execution.rerun", execution_id, None, {"execution_id": fresh_id, "version": version})
    ready = Ready(caller.tenant_id, fresh_id, 0, source.workflow_id, version, b"", traceparent)
    parts_of(request).acceptor.announce_known([ready])
    headers = {"Location": f"/api/v1/executions/{fresh_id}"}
    return Response(Retried(fresh_id, _effects(kept)), status_code=202, headers=headers)


def _version(source: Repeatable | None, wanted: str) -> int:
    """The version to run. Raises `NotFound` or `Conflict`."""
    if source is None:
        raise NotFound("There is no such execution.")
    if source.status not in TERMINAL or source.status == ExecutionStatus.COMPLETED:
        raise Conflict(f"An execution that is {source.status} cannot be run again.")
    if wanted == "original":
        return source.version
    if source.latest_version is None:
        raise Conflict("The workflow was deleted; only the original version can be run again.")
    return source.latest_version


async def _definition(connection: Connection, tenant_id: UUID, workflow_id: UUID, version: int) -> Definition:
    stored = await find_version(connection, tenant_id, workflow_id, version)
    if stored is None:
        raise Conflict("This version of the workflow is gone.")
    return _decode_definition(stored.definition)


def _input(source: Repeatable, edited: Any, definition: Definition) -> str:
    """The input of the new run as JSON text. Raises `InvalidInput` when it does not fit the schema."""
    if edited is msgspec.UNSET:
        return source.input
    faults = [] if definition.input_schema is None else instance_faults(definition.input_schema, edited, "input")
    if faults:
        raise InvalidInput(faults, "The input does not fit the workflow's input_schema.")
    place = _PAYLOAD.get(source.trigger_type)
    before: dict[str, Any] = {} if place is None else msgspec.json.decode(source.input)
    data = edited if place is None else {**before, "input" if "input" in before else place: edited}
    return msgspec.json.encode(data).decode()


def _effects(kept: list[KeptAction]) -> list[EffectDone]:
    return [EffectDone(one.key, one.type, one.index % MAX_ITEMS) for one in kept if not is_pure(one.type)]


ROUTER = Router(
    "/api/v1",
    route_handlers=[retry],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Executions"],
)
