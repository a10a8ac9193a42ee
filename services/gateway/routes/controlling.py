"""Cancelling, pausing and resuming executions."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from litestar import Router, post
from litestar.params import FromPath

from libs.common.db.controlling import cancel_executions, pause_execution, resume_execution
from libs.common.db.execution_views import find_execution
from libs.common.db.pool import Connection
from libs.common.domain.execution import TERMINAL
from libs.common.errors import Conflict, NotFound
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.documents import TENANT_SECURITY, problems
from services.gateway.routes.executions import ExecutionSummary, summary_of

_TRIES = 5
"""An execution may move between two looks at it; so often in a row it does not."""

Change = Callable[[Connection, UUID, UUID], Awaitable[bool]]


@post(
    "/executions/{execution_id:uuid}/cancel", status_code=200, responses=problems(400, 403, 404, 409),
    summary="Cancel an execution",
)  # fmt: skip
async def cancel(request: AnyRequest, execution_id: FromPath[UUID]) -> ExecutionSummary:
    """What waits ends now; a running action is interrupted within two seconds. 409 when the execution has ended."""

    async def change(connection: Connection, tenant_id: UUID, wanted: UUID) -> bool:
        return wanted in await cancel_executions(connection, tenant_id, [wanted])

    return await _change(request, execution_id, change, "cancelled")


@post(
    "/executions/{execution_id:uuid}/pause", status_code=200, responses=problems(400, 403, 404, 409),
    summary="Pause an execution",
)  # fmt: skip
async def pause(request: AnyRequest, execution_id: FromPath[UUID]) -> ExecutionSummary:
    """A running action ends, then nothing starts until it is resumed. 409 when it has ended or is paused."""
    return await _change(request, execution_id, pause_execution, "paused")


@post(
    "/executions/{execution_id:uuid}/resume", status_code=200, responses=problems(400, 403, 404, 409),
    summary="Resume an execution",
)  # fmt: skip
async def resume(request: AnyRequest, execution_id: FromPath[UUID]) -> ExecutionSummary:
    """A paused execution goes on. 409 when it is not paused."""
    return await _change(request, execution_id, resume_execution, "resumed")


async def _change(request: AnyRequest, execution_id: UUID, change: Change, word: str) -> ExecutionSummary:
    tenant_id, parts = caller_of(request).tenant_id, parts_of(request)
    most = parts.settings.large_value_bytes
    async with tenant_of(request).transaction() as connection:
        changed = await change(connection, tenant_id, execution_id)
        row = await find_execution(connection, tenant_id, execution_id, value_bytes=most)
        for _ in range(_TRIES):
            if row is None or changed or row.status in TERMINAL:
                break
            changed = await change(connection, tenant_id, execution_id)
            row = await find_execution(connection, tenant_id, execution_id, value_bytes=most)
        if changed:
            await note(connection, f"execution.{word}", execution_id)
    if row is None:
        raise NotFound("There is no such execution.")
    if not changed:
        raise Conflict(f"An execution that is {'paused' if row.paused else row.status} cannot be {word}.")
    return summary_of(row)


ROUTER = Router(
    "/api/v1",
    route_handlers=[cancel, pause, resume],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Executions"],
)
