"""Sending one HTTP request through a guarded session: bounded in time and size, errors with a class that retry rules
can name.

No error text holds an address that a name resolved to, or anything of an answer's body.
"""

import base64
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from libs.common.errors import MalformedInput, SignalboxError
from libs.common.json_input import decode_json
from libs.common.security.egress import BlockedDestination

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

MAX_RESPONSE_BYTES = 5 * 1_048_576
MAX_REDIRECTS = 5
CONNECT_SECONDS = 5.0

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_FOR_STRANGERS = frozenset({"accept", "accept-language", "user-agent", "traceparent"})
"""What a redirect may take along to another origin. A credential can be in a header of any name, so the rest stays."""
_CHUNK_BYTES = 65_536
_ERROR_STATUS = 400


class SendFailed(SignalboxError):
    """The request got no usable answer. `error_class`: connection, timeout, blocked, too_large, invalid_request,
    protocol, invalid_response.
    """

    slug = "send-failed"

    def __init__(self, error_class: str, detail: str) -> None:
        super().__init__(detail)
        self.error_class = error_class


class OutgoingRequest(msgspec.Struct, frozen=True):
    """What to send. `headers` hold one value a name; `body` is ready to go. `read_as`: auto goes by the type of the
    answer's content.
    """

    method: str
    url: str
    headers: dict[str, str]
    timeout_seconds: float
    query: Mapping[str, str | Sequence[str]] = {}
    body: bytes | None = None
    follow_redirects: bool = False
    max_response_bytes: int = MAX_RESPONSE_BYTES
    verify_tls: bool = True
    read_as: Literal["auto", "json", "text", "bytes"] = "auto"


class OutgoingResponse(msgspec.Struct, frozen=True):
    """The answer. `body` is the value of JSON, else text; `base64` says that it is neither and how it is written."""

    status: int
    headers: dict[str, str]
    body: Any
    base64: bool
    elapsed_ms: int


async def send(session: aiohttp.ClientSession, request: OutgoingRequest) -> OutgoingResponse:
    """Send it and read the answer, whatever its status. Raises `SendFailed`."""
    _check(request)
    started = perf_counter()
    try:
        return await _send_following(session, request, started)
    except BlockedDestination as error:
        raise SendFailed("blocked", error.detail) from None
    except TimeoutError:
        raise SendFailed("timeout", f"no answer within {request.timeout_seconds:g} seconds") from None
    except aiohttp.ClientConnectorCertificateError as error:  # a ValueError too
        raise SendFailed("connection", f"{error.host} has no certificate that can be trusted") from error
    except (aiohttp.InvalidURL, ValueError):
        raise SendFailed("invalid_request", "the URL or a header is not valid") from None
    except aiohttp.ClientConnectorError as error:
        raise SendFailed("connection", f"cannot connect to {urlsplit(request.url).hostname}") from error
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise SendFailed("connection", "the connection broke") from error
    except aiohttp.ClientError as error:
        raise SendFailed("protocol", f"the answer cannot be read: {type(error).__name__}") from error


def _check(request: OutgoingRequest) -> None:
    try:
        parts = urlsplit(request.url)
    except ValueError:
        raise SendFailed("invalid_request", "the URL is not valid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SendFailed("invalid_request", "the URL must start with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise SendFailed("invalid_request", "the URL must not hold a user name or password")
    for name, value in request.headers.items():
        if any(character in name + value for character in "\r\n\0"):
            raise SendFailed("invalid_request", "a header holds a line break")


async def _send_following(session: aiohttp.ClientSession, request: OutgoingRequest, started: float) -> OutgoingResponse:
    method, url, headers, body = request.method, URL(request.url), dict(request.headers), request.body
    if request.query:
        url = url.extend_query(request.query)
    left = MAX_REDIRECTS if request.follow_redirects else 0
    timeout = aiohttp.ClientTimeout(total=request.timeout_seconds, sock_connect=CONNECT_SECONDS)
    while True:
        async with session.request(
            method, url, headers=headers, data=body, timeout=timeout, allow_redirects=False, ssl=request.verify_tls
        ) as response:
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or target is None or left == 0:
                return await _read(response, request, started)
            left -= 1
            following = url.join(URL(target))
            if following.scheme not in ("http", "https") or following.user is not None:
                raise SendFailed("invalid_request", "the redirect leads to an address that is not allowed")
            if following.origin() != url.origin():
                headers = {name: value for name, value in headers.items() if name.lower() in _FOR_STRANGERS}
            if response.status not in _KEEP_METHOD or following.origin() != url.origin():
                method, body = ("GET" if method != "HEAD" else method), None
            url = following


async def _read(response: aiohttp.ClientResponse, request: OutgoingRequest, started: float) -> OutgoingResponse:
    raw, limit_bytes = bytearray(), request.max_response_bytes
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        raw += chunk
        if len(raw) > limit_bytes:
            raise SendFailed("too_large", f"the answer is larger than {limit_bytes} bytes")
    body, encoded = _value_as(request.read_as, bytes(raw), response)
    elapsed_ms = round((perf_counter() - started) * 1000)
    return OutgoingResponse(response.status, _plain(response.headers), body, encoded, elapsed_ms)


def _value_as(wanted: str, raw: bytes, response: aiohttp.ClientResponse) -> tuple[Any, bool]:
    """As `_value`, but as what was asked for. What is no JSON is kept when the status says that something is wrong."""
    if wanted == "bytes":
        return base64.b64encode(raw).decode(), True
    if wanted == "text":
        body, encoded = _value(raw, "text/plain", response.charset)
        return (raw.decode(errors="replace") if encoded else body or ""), False
    if wanted == "json" and raw:
        try:
            return decode_json(raw), False
        except MalformedInput:
            if response.status < _ERROR_STATUS:
                raise SendFailed("invalid_response", "the answer is not JSON") from None
    return _value(raw, response.content_type, response.charset)


def _value(raw: bytes, media_type: str, charset: str | None) -> tuple[Any, bool]:
    """The body as a value, and whether it is base64."""
    if not raw:
        return None, False
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return msgspec.json.decode(raw), False
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # an answer that only claims to be JSON is kept as the text that it is
    try:
        return raw.decode(charset or "utf-8"), False
    except (UnicodeDecodeError, LookupError):
        return base64.b64encode(raw).decode(), True


def _plain(headers: "CIMultiDictProxy[str]") -> dict[str, str]:
    plain: dict[str, str] = {}
    for name, value in cast("Mapping[str, str]", headers).items():
        key = name.lower()
        plain[key] = f"{plain[key]}, {value}" if key in plain else value
    return plain
