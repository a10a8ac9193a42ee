"""`http_request`: calls an HTTP endpoint through the guarded client and keeps the answer.

Every attempt of one action carries the same `Idempotency-Key`, so that an endpoint that knows the header does the
work once, however often a crash or a retry repeats the call. A status of 400 or more fails the attempt unless
`success_status` says otherwise.
"""

import base64
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from libs.common.clock import Clock
from libs.common.domain.catalogue import CATALOGUE, HttpAuth, HttpRequestConfig
from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.security.egress import EgressPolicy, guarded_session
from libs.common.security.http_client import OutgoingRequest, OutgoingResponse, SendFailed, send
from libs.common.settings import Network
from services.executor.actions.base import Attempt, Effects

if TYPE_CHECKING:
    import aiohttp

NAME = "http_request"
_ERROR_STATUS = 400
_LONGEST_RETRY_AFTER_SECONDS = 86_400.0
_USER_AGENT = "Signalbox"


class HttpAction:
    """The action, with the one client session of this worker."""

    def __init__(self, allowed: tuple[Network, ...], clock: Clock) -> None:
        """`allowed`: networks that may be called although they are private."""
        self._policy, self._clock = EgressPolicy(allowed), clock
        self._session: aiohttp.ClientSession | None = None

    def types(self) -> Effects:
        """The action under its name and every alias."""
        return {name: self.run for name, entry in CATALOGUE.items() if entry.name == NAME}

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """Call the endpoint; the output is its answer. Raises `ActionFailed`."""
        try:
            wanted = msgspec.convert(config, HttpRequestConfig)
        except msgspec.ValidationError as error:
            raise ActionFailed(Failure("invalid_config", str(error))) from None
        if self._session is None:
            self._session = guarded_session(self._policy)
        try:
            response = await send(self._session, build_request(wanted, attempt))
        except SendFailed as error:
            raise ActionFailed(Failure(error.error_class, error.detail)) from None
        if not _is_success(wanted, response.status):
            raise ActionFailed(_refusal(response, self._clock.now()))
        return msgspec.to_builtins(response)


def build_request(wanted: HttpRequestConfig, attempt: Attempt) -> OutgoingRequest:
    """The request of a rendered config."""
    headers = {name: _text(value) for name, value in wanted.headers.items()}
    given = {name.lower() for name in headers}
    body, content_type = _body(wanted)
    for name, value in (
        ("Content-Type", content_type),
        ("Idempotency-Key", attempt.idempotency_key),
        ("traceparent", attempt.traceparent),
        ("User-Agent", _USER_AGENT),
    ):
        if value and name.lower() not in given:
            headers[name] = value
    if wanted.auth is not None:
        headers |= _auth_header(wanted.auth)
    query = {name: _text(value) for name, value in wanted.query.items()}
    return OutgoingRequest(
        wanted.method.upper(), wanted.url, headers, attempt.timeout_seconds, query, body, wanted.follow_redirects
    )


def _body(wanted: HttpRequestConfig) -> tuple[bytes | None, str]:
    if wanted.form is not None:
        return urlencode(
            {name: _text(value) for name, value in wanted.form.items()}
        ).encode(), "application/x-www-form-urlencoded"
    if wanted.text is not None:
        return wanted.text.encode(), "text/plain; charset=utf-8"
    if wanted.body is not None:
        return msgspec.json.encode(wanted.body), "application/json"
    return None, ""


def _auth_header(auth: HttpAuth) -> dict[str, str]:
    match auth.type:
        case "bearer":
            return {"Authorization": f"Bearer {auth.token or ''}"}
        case "basic":
            pair = f"{auth.username or ''}:{auth.password or ''}"
            return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        case "header":
            return {auth.name or "Authorization": auth.value or ""}


def _is_success(wanted: HttpRequestConfig, status: int) -> bool:
    return status in wanted.success_status if wanted.success_status is not None else status < _ERROR_STATUS


def _refusal(response: OutgoingResponse, now: datetime) -> Failure:
    return Failure(
        "http_status",
        f"the endpoint answered {response.status}",
        http_status=response.status,
        retry_after_seconds=_retry_after(response.headers.get("retry-after", ""), now),
    )


def _retry_after(text: str, now: datetime) -> float | None:
    """Seconds of a `Retry-After` (RFC 9110, 10.2.3: a number or a date), at most a day; None when there is none."""
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER_SECONDS)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), _LONGEST_RETRY_AFTER_SECONDS)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
