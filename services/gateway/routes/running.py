"""Starting a workflow by hand. The answer goes out when the execution is committed."""

import hashlib
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from litestar import Response, Router, post
from litestar.params import FromPath

from libs.common.accept import NewExecution
from libs.common.db.workflows import Startable, find_startable, find_version
from libs.common.errors import Conflict, Fault, InvalidInput, NotFound
from libs.common.telemetry.spans import place_of_request
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object, to_struct
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.input_schemas import InputSchemas
from services.gateway.parts import Caller

_KEY_CHARACTERS = 255

_log = structlog.get_logger(__name__)


class Execute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to run with; templates see it as `input`. `priority`: where the workflow's own is not meant."""

    input: dict[str, Any] = {}
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] | None = None


class Started(msgspec.Struct, frozen=True):
    """A run that will happen."""

    execution_id: UUID
    status: str = "pending"


BODIES = (Execute,)


@post(
    "/workflows/{workflow_id:uuid}/execute", operation_class=takes(Execute, required=False), status_code=202,
    responses=problems(400, 402, 403, 404, 409, 413, 415, 422), summary="Execute a workflow",
)  # fmt: skip
async def execute(request: AnyRequest, workflow_id: FromPath[UUID]) -> Response[Started]:
    """Answers 202 at once. With `Idempotency-Key` a retry within 24 hours starts nothing new and gives the same
    answer.
    """
    caller, key = caller_of(request), idempotency_key(request)
    raw = await request.body()
    body = to_struct(await read_object(request), Execute) if raw else Execute()
    startable = await _startable(request, caller, workflow_id, body.input)
    await parts_of(request).limits.admit_start(caller.tenant_id, len(raw))
    new = NewExecution(
        tenant_id=caller.tenant_id,
        workflow_id=workflow_id,
        version=startable.version,
        trigger_id=startable.trigger_id,
        trigger_key=startable.trigger_key or "",
        trigger_type="manual",
        input=msgspec.json.encode(body.input),
        actor=caller.actor,
        traceparent=traceparent_of(request),
        priority=body.priority,
    )
    acceptor, replayed = parts_of(request).acceptor, False
    if key is None:
        execution_id = await acceptor.accept(new)
    else:
        request_hash = hashlib.sha256(workflow_id.bytes + raw).digest()
        execution_id, replayed = await acceptor.accept_once(new, key, request_hash)
    if not replayed:
        _log.debug(
            "run accepted", tenant_id=caller.tenant_id, execution_id=execution_id, trace_id=new.traceparent[3:35]
        )
    return _answer(execution_id, replayed=replayed)


async def _startable(request: AnyRequest, caller: Caller, workflow_id: UUID, value: dict[str, Any]) -> Startable:
    """The workflow, able to run with this input. Raises `NotFound`, `Conflict` or `InvalidInput`."""
    schemas: InputSchemas = request.app.state["input_schemas"]
    async with tenant_of(request).transaction() as connection:
        startable = await find_startable(connection, caller.tenant_id, workflow_id)
        if startable is None:
            raise NotFound("There is no such workflow.")
        if not startable.enabled:
            raise Conflict("The workflow is disabled.")
        if not schemas.knows(workflow_id, startable.version):
            stored = await find_version(connection, caller.tenant_id, workflow_id, startable.version)
            definition: dict[str, Any] = msgspec.json.decode(stored.definition) if stored else {}
            schemas.learn(workflow_id, startable.version, definition.get("input_schema"))
    schemas.check(workflow_id, startable.version, value)
    return startable


def _answer(execution_id: UUID, *, replayed: bool) -> Response[Started]:
    headers = {"Location": f"/api/v1/executions/{execution_id}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(Started(execution_id), status_code=202, headers=headers)


def idempotency_key(request: AnyRequest) -> str | None:
    """The header, if it is there. Raises `InvalidInput` when it is too long or not printable."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (0 < len(key) <= _KEY_CHARACTERS and key.isascii() and key.isprintable()):
        raise InvalidInput([Fault("headers.Idempotency-Key", f"must be 1 to {_KEY_CHARACTERS} printable characters")])
    return key


def traceparent_of(request: AnyRequest) -> str:
    """The caller's trace goes on in the execution; without one, a trace begins here."""
    return place_of_request(request.headers.get("traceparent", ""))


ROUTER = Router(
    "/api/v1",
    route_handlers=[execute],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Executions"],
)
