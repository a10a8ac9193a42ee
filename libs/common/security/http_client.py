"""Sending one HTTP request through a guarded session: bounded in time and size, errors with a class that retry rules
can name.

No error text holds an address that a name resolved to, or anything of an answer's body.
"""

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast

import aiohttp
import msgspec
from yarl import URL

from libs.common.errors import MalformedInput, SignalboxError
from libs.common.json_input import decode_json
from libs.common.security.egress import BlockedConnection

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

MAX_RESPONSE_BYTES = 5 * 1_048_576
MAX_REDIRECTS = 5
CONNECT_SECONDS = 5.0

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_FOR_STRANGERS = frozenset({"accept", "accept-language", "user-agent", "traceparent"})
"""What a redirect may take along to another origin. A credential can be in a header of any name, so the rest stays."""
_ABOUT_BODIES = frozenset({"content-type", "content-encoding", "content-language"})
_FRAMING = frozenset({"content-length", "transfer-encoding", "trailer", "upgrade"})
"""Where a message ends is the client's own business. Connections are shared: a request hidden behind a wrong end would
take the answer that belongs to somebody else's.
"""
_NO_REQUESTS = frozenset({"CONNECT", "TRACE"})
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CHARSETS = frozenset(
    {f"iso-8859-{part}" for part in range(1, 17) if part != 12} | {f"windows-{page}" for page in range(1250, 1259)}
    | {"utf-16", "utf-16le", "utf-16be", "latin1", "koi8-r", "koi8-u", "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr"}
    | {"gb2312", "gbk", "gb18030", "big5"}
)  # fmt: skip
"""What text comes in besides UTF-8. Python knows more, slow and strange ones among them, so others are not believed."""
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
    url = _checked_url(request)
    _check_head(request)
    started = perf_counter()
    try:
        async with asyncio.timeout(request.timeout_seconds):
            return await _send_following(session, request, url, started)
    except TimeoutError:
        raise SendFailed("timeout", f"no answer within {request.timeout_seconds:g} seconds") from None
    except aiohttp.ClientConnectorCertificateError as error:  # a ValueError too
        raise SendFailed("connection", f"{error.host} has no certificate that can be trusted") from error
    except (aiohttp.InvalidURL, ValueError):
        raise SendFailed("invalid_request", "the URL or a header is not valid") from None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, BlockedConnection):
            raise SendFailed("blocked", str(error.os_error)) from None
        raise SendFailed("connection", f"cannot connect to {error.host}") from error
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise SendFailed("connection", "the connection broke") from error
    except aiohttp.ClientError as error:
        raise SendFailed("protocol", f"the answer cannot be read: {type(error).__name__}") from error


def _checked_url(request: OutgoingRequest) -> URL:
    try:
        url = URL(request.url)
    except ValueError:
        raise SendFailed("invalid_request", "the URL is not valid") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise SendFailed("invalid_request", "the URL must start with http:// or https:// and name a host")
    if _names_user(url):
        raise SendFailed("invalid_request", "the URL must not hold a user name or password")
    return url.extend_query(request.query) if request.query else url


def _names_user(url: URL) -> bool:
    return url.user is not None or url.password is not None


def _check_head(request: OutgoingRequest) -> None:
    if _TOKEN.fullmatch(request.method) is None or request.method.upper() in _NO_REQUESTS:
        raise SendFailed("invalid_request", "the method is not one that can be sent")
    for name, value in request.headers.items():
        if _TOKEN.fullmatch(name) is None:
            raise SendFailed("invalid_request", "the name of a header is not valid")
        if _CONTROL.search(value) is not None:
            raise SendFailed("invalid_request", f"the header {name} holds a line break or another control character")
        if name.lower() in _FRAMING:
            raise SendFailed("invalid_request", f"the header {name} cannot be set: it follows from the body")


async def _send_following(
    session: aiohttp.ClientSession, request: OutgoingRequest, url: URL, started: float
) -> OutgoingResponse:
    method, headers, body = request.method, dict(request.headers), request.body
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    for _ in range(MAX_REDIRECTS + 1):
        async with session.request(
            method, url, headers=headers, data=body, timeout=timeout, allow_redirects=False, ssl=request.verify_tls
        ) as response:
            target = response.headers.get("Location")
            if not request.follow_redirects or response.status not in _REDIRECTS or target is None:
                return await _read(response, request, started)
            following = url.join(URL(target))
            if following.scheme not in ("http", "https") or _names_user(following):
                raise SendFailed("invalid_request", "the redirect leads to an address that is not allowed")
            strange = following.origin() != url.origin()
            if strange:
                headers = {name: value for name, value in headers.items() if name.lower() in _FOR_STRANGERS}
            if response.status not in _KEEP_METHOD or strange:
                method, body = ("GET" if method != "HEAD" else method), None
                headers = {name: value for name, value in headers.items() if name.lower() not in _ABOUT_BODIES}
            url = following
    raise SendFailed("protocol", f"more than {MAX_REDIRECTS} redirects")


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
            return decode_json(raw), False
        except MalformedInput:
            pass  # an answer that only claims to be JSON is kept as the text that it is
    try:
        named = (charset or "").lower()
        return raw.decode(named if named in _CHARSETS else "utf-8"), False
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode(), True


def _plain(headers: "CIMultiDictProxy[str]") -> dict[str, str]:
    plain: dict[str, str] = {}
    for name, value in cast("Mapping[str, str]", headers).items():
        key, text = name.lower(), _readable(value)
        plain[key] = f"{plain[key]}, {text}" if key in plain else text
    return plain


def _readable(value: str) -> str:
    """aiohttp reads headers as UTF-8 and keeps bytes that are none as halves of surrogate pairs: those are Latin-1."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value
