"""Errors as problem documents (RFC 9457): the only place that knows which error is which HTTP status.

Used by the gateway's exception handlers and by plain ASGI code alike. What the product expects is told to the caller
in full; anything else is a 500 that says nothing of the inside and is logged with its trace.
"""

from collections.abc import Mapping, Sequence

import msgspec
import structlog

from libs.common.errors import (
    Fault,
    InvalidInput,
    LimitShown,
    MethodNotAllowed,
    QuotaExceeded,
    RateLimited,
    SignalboxError,
    TooLarge,
    Unavailable,
)
from libs.common.telemetry.metrics import count_limit_refusal

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:signalbox:problem:"

STATUSES: Mapping[str, tuple[int, str]] = {
    "malformed-input": (400, "The request cannot be read"),
    "tenant-required": (400, "X-Tenant-ID is missing"),
    "unauthenticated": (401, "No valid credential"),
    "quota-exceeded": (402, "The plan has no room for this"),
    "forbidden": (403, "Not allowed"),
    "tenant-suspended": (403, "The tenant is suspended"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "conflict": (409, "Conflict"),
    "tenant-erased": (410, "The tenant is being erased"),
    "stale-version": (412, "The resource has changed"),
    "too-large": (413, "The body is too large"),
    "unsupported-type": (415, "The content type is not supported"),
    "invalid-input": (422, "The request has faults"),
    "idempotency-mismatch": (422, "The Idempotency-Key was used for another request"),
    "rate-limited": (429, "Too many requests"),
    "unavailable": (503, "Not available for now"),
    "internal": (500, "Something went wrong on our side"),
}
"""Slug → HTTP status and title. A slug that is not here is a 500."""

_INTERNAL_DETAIL = "The request failed; the request id finds the reason in the logs."
_log = structlog.get_logger("signalbox.problems")


class Problem(msgspec.Struct, frozen=True):
    """The body of every error answer. `errors` has every fault of the input, each by its path."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: Sequence[Fault] = ()


class LimitProblem(Problem, frozen=True):
    """What stands in the way is a limit of the tenant: this one."""

    limit: LimitShown = LimitShown("", 0)


def problem_for(error: Exception, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (content type included) and body of the answer to `error`. Logs it when it was not expected."""
    slug = error.slug if isinstance(error, SignalboxError) else "internal"
    status, title = STATUSES.get(slug, STATUSES["internal"])
    detail = error.detail if isinstance(error, SignalboxError) else _INTERNAL_DETAIL
    if status == STATUSES["internal"][0]:
        detail = _INTERNAL_DETAIL
        _log.error("request_failed", request_id=request_id, exc_info=error)
    faults = error.faults if isinstance(error, InvalidInput) else ()
    problem = Problem(TYPE_PREFIX + slug, title, status, detail, request_id, faults)
    if (limit := _limit_of(error)) is not None:
        count_limit_refusal(limit.name)
        problem = LimitProblem(**msgspec.structs.asdict(problem), limit=limit)
    return status, _headers(error, status), msgspec.json.encode(problem)


def _limit_of(error: Exception) -> LimitShown | None:
    return error.limit if isinstance(error, RateLimited | QuotaExceeded | TooLarge) else None


def _headers(error: Exception, status: int) -> dict[str, str]:
    headers = {"content-type": CONTENT_TYPE}
    if isinstance(error, Unavailable | RateLimited):
        headers["retry-after"] = str(error.retry_after_seconds)
        if (limit := _limit_of(error)) is not None:
            headers["ratelimit-limit"] = str(limit.value).partition("/")[0]
            headers["ratelimit-remaining"] = "0"
            headers["ratelimit-reset"] = str(error.retry_after_seconds)
    elif isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    elif status == STATUSES["unauthenticated"][0]:
        headers["www-authenticate"] = "Bearer"
    return headers
