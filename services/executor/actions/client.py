"""The one guarded HTTP client of a worker, as actions use it: whatever goes wrong is `ActionFailed` with a class that
retry rules can name, and every call says which work it belongs to.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from libs.common.clock import Clock
from libs.common.domain.execution import Failure
from libs.common.domain.faults import is_object
from libs.common.domain.pure_actions import ActionFailed
from libs.common.security.egress import EgressPolicy, guarded_session
from libs.common.security.http_client import OutgoingRequest, OutgoingResponse, SendFailed, send
from libs.common.security.last_moment import asking
from libs.common.telemetry.spans import Around, around, known_method
from services.executor.actions.base import Attempt, insist_ours

if TYPE_CHECKING:
    import aiohttp

ERROR_STATUS = 400
_LONGEST_RETRY_AFTER_SECONDS = 86_400.0
_USER_AGENT = "Signalbox"
_LONGEST_REASON = 200
_WORD = re.compile(r"[a-z_]{1,64}")
_HOST = re.compile(r"https?://(?:[^/?#@]*@)*(\[[^\]]*\]|[^/?#:@]*)", re.IGNORECASE)


class GuardedClient:
    """Sends requests under an egress policy. The session is opened by the first one."""

    def __init__(self, policy: EgressPolicy, clock: Clock) -> None:
        self._policy, self._clock = policy, clock
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def send(self, request: OutgoingRequest, attempt: Attempt) -> OutgoingResponse:
        """The answer, whatever its status. Raises `ActionFailed` when there is none."""
        if self._session is None:
            self._session = guarded_session(self._policy)
        with around(known_method(request.method), attempt.traceparent, "client") as span:
            try:
                with asking(partial(insist_ours, attempt)):
                    response = await send(self._session, _at(request, attempt, span))
            except SendFailed as error:
                span.failed(error.error_class)
                raise ActionFailed(Failure(error.error_class, error.detail)) from None
            span.note("http.response.status_code", response.status)
            return response

    def refusal(self, response: OutgoingResponse, detail: str = "") -> ActionFailed:
        """An answer that counts as a failure, of the class `http_status`; `detail` says more than its number."""
        message = f"the endpoint answered {response.status}{': ' if detail else ''}{detail}"
        wait = retry_after(response.headers.get("retry-after", ""), self._clock.now())
        return ActionFailed(Failure("http_status", message, http_status=response.status, retry_after_seconds=wait))


def _at(request: OutgoingRequest, attempt: Attempt, span: Around) -> OutgoingRequest:
    """The request at the place of its own span. Of its address only the host is told, as records would show it."""
    if span.place == attempt.traceparent:
        return request
    span.note("http.request.method", known_method(request.method))
    if (host := _HOST.match(request.url)) is not None:
        span.note("server.address", attempt.mask(host[1]))
    if request.headers.get("traceparent") != attempt.traceparent:
        return request  # the workflow gave its own
    return msgspec.structs.replace(request, headers={**request.headers, "traceparent": span.place})


def with_our_headers(headers: Mapping[str, str], attempt: Attempt, content_type: str = "") -> dict[str, str]:
    """The headers with those of ours that are not given."""
    given = {name.lower() for name in headers}
    ours = {
        "Content-Type": content_type,
        "Idempotency-Key": attempt.idempotency_key,
        "traceparent": attempt.traceparent,
        "User-Agent": _USER_AGENT,
    }
    return {**headers, **{name: value for name, value in ours.items() if value and name.lower() not in given}}


def vendor_reason(body: Any) -> str:
    """What a vendor says was wrong: a word (Slack), a number and a sentence in JSON (Twilio, Discord); else nothing."""
    if isinstance(body, str):
        return body if _WORD.fullmatch(body) else ""
    if not is_object(body):
        return ""
    code, message = body.get("code"), body.get("message")
    return f"error {code}: {message}"[:_LONGEST_REASON] if isinstance(code, int) and isinstance(message, str) else ""


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds of a `Retry-After` (RFC 9110, 10.2.3: a number or a date), at most a day; None when there is none."""
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER_SECONDS)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), _LONGEST_RETRY_AFTER_SECONDS)
