"""How the gateway answers when something goes wrong, and what stands on every answer: the request id and the security
headers.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

from litestar import Response
from litestar.exceptions import HTTPException
from litestar.types import HTTPScope, Message, Scope, Send

from libs.common.clock import new_id
from libs.common.errors import (
    Fault,
    InvalidInput,
    MalformedInput,
    MethodNotAllowed,
    NotFound,
    SignalboxError,
    TooLarge,
)
from libs.common.problems import problem_for
from services.gateway.auth import parts_of
from services.gateway.bodies import AnyRequest

_REQUEST_ID_CHARACTERS = 128
_API_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_PAGE_POLICY = b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]


def answer_problem(request: AnyRequest, error: Exception) -> Response[bytes]:
    """The problem document for whatever a handler, a guard or the framework raised."""
    known = _translated(error, request) if isinstance(error, HTTPException) else error
    status, headers, body = problem_for(known, request_id_of(request.scope))
    content_type = headers.pop("content-type")
    return Response(body, status_code=status, headers=headers, media_type=content_type)


async def refuse_head(scope: HTTPScope, send: Send, most_bytes: int) -> bool:
    """Whether the headers of the request are more than that, which is answered then."""
    if sum(len(name) + len(value) for name, value in scope["headers"]) <= most_bytes:
        return False
    error = MalformedInput(f"The headers are larger than {most_bytes} bytes.")
    status, headers, body = problem_for(error, request_id_of(scope))
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return True


def request_id_of(scope: Scope) -> str:
    """The id of this request: the caller's own if it is short and printable, else a new one."""
    return cast("str", scope["state"]["request_id"])


def header(headers: RawHeaders, name: bytes) -> str | None:
    """The first header of that lower-case name."""
    return next((value.decode("latin-1") for key, value in headers if key == name), None)


def sending(scope: Scope, send: Send, more: RawHeaders = ()) -> Send:
    """`send`, with the request id, security headers and `more` on the start of the response. Sets the request id of
    the scope.
    """
    request_id = _checked_id(header(scope["headers"], b"x-request-id"))
    given = cast("Mapping[str, Any]", scope)
    scope["state"] = {**given.get("state", {}), "request_id": request_id}
    page = scope["path"].startswith("/docs")
    extra = [
        *_HEADERS,
        (b"x-request-id", request_id.encode()),
        (b"content-security-policy", _PAGE_POLICY if page else _API_POLICY),
        (b"cache-control", b"no-cache" if page else b"no-store"),
        *more,
    ]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *extra]
        await send(message)

    return send_with_headers


def _checked_id(given: str | None) -> str:
    if given and len(given) <= _REQUEST_ID_CHARACTERS and given.isascii() and given.isprintable():
        return given
    return str(new_id())


def _translated(error: HTTPException, request: AnyRequest) -> Exception:
    """The framework's own errors in our words."""
    if error.status_code == 404:
        return NotFound("There is nothing at this address.")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("allow", "")
        return MethodNotAllowed([method.strip() for method in allowed.split(",") if method.strip()])
    if error.status_code == 413:
        return TooLarge(parts_of(request).settings.max_body_bytes)
    if error.status_code == 400:
        return _invalid(error, request)
    return error


def _invalid(error: HTTPException, request: AnyRequest) -> SignalboxError:
    entries = cast("list[Mapping[str, Any]]", error.extra) if isinstance(error.extra, list) else []
    faults = [Fault(_as_sent(str(entry.get("key", "")), request), str(entry.get("message", ""))) for entry in entries]
    return InvalidInput(faults, "The parameters have faults.") if faults else MalformedInput(error.detail)


def _as_sent(name: str, request: AnyRequest) -> str:
    """What a caller calls the parameter that has this name in the handler."""
    field = request.route_handler.parsed_fn_signature.parameters.get(name)
    return name if field is None else getattr(field.kwarg_definition, "name", None) or name
