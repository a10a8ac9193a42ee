"""The whole of one value of an execution: what a record links to when the value is large."""

from typing import Any
from uuid import UUID

from litestar import Response, Router, get
from litestar.params import FromPath

from libs.common.db.execution_views import load_attempt_value, load_value
from libs.common.errors import NotFound
from services.gateway.auth import caller_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest
from services.gateway.documents import TENANT_SECURITY, answers, problems
from services.gateway.values import ValueName

_MOST = 2**31
"""Positions, iterations and attempts are smaller."""


@get(
    "/executions/{execution_id:uuid}/values/{name:str}", responses=problems(400, 403, 404, 422) | answers(Any),
    summary="Read a value of an execution",
)  # fmt: skip
async def show_value(request: AnyRequest, execution_id: FromPath[UUID], name: FromPath[ValueName]) -> Response[bytes]:
    """All of its `input`, `output` or `error`, as JSON to the letter."""
    async with tenant_of(request).transaction() as connection:
        text = await load_value(connection, caller_of(request).tenant_id, execution_id, name)
    return _answer(text)


@get(
    "/executions/{execution_id:uuid}/values/actions/{position:int}/{iteration:int}/{attempt:int}/{name:str}",
    responses=problems(400, 403, 404, 422) | answers(Any), summary="Read a value of an attempt",
)  # fmt: skip
async def show_attempt_value(
    request: AnyRequest,
    execution_id: FromPath[UUID],
    position: FromPath[int],
    iteration: FromPath[int],
    attempt: FromPath[int],
    name: FromPath[ValueName],
) -> Response[bytes]:
    """All of an attempt's `input`, `output` or `error`, as JSON to the letter. Records link here."""
    place = (position, iteration, attempt)
    if not all(0 <= number < _MOST for number in place):
        return _answer(None)
    async with tenant_of(request).transaction() as connection:
        text = await load_attempt_value(connection, caller_of(request).tenant_id, execution_id, place, name)
    return _answer(text)


def _answer(text: str | None) -> Response[bytes]:
    if text is None:
        raise NotFound("There is no such value.")
    return Response(text.encode(), media_type="application/json")


ROUTER = Router(
    "/api/v1",
    route_handlers=[show_value, show_attempt_value],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Executions"],
)
