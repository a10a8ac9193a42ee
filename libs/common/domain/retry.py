"""Retries: how long to wait after a failed attempt, and which failures are worth another one.

The caller brings the random number; nothing here reads a clock or a random source.
"""

from libs.common.domain.workflow import RetryPolicy

RETRYABLE_STATUSES = frozenset({408, 425, 429})
"""Beside every 5xx: time-out, too early, too many requests (reliability.md 1.4)."""

RETRYABLE_CLASSES = frozenset({"connection", "timeout", "unavailable", "rate_limited", "unknown"})
"""Classes of errors that may pass by themselves, for failures without an HTTP status."""


def wait_seconds(policy: RetryPolicy, attempt: int, unit_random: float) -> float:
    """Seconds to wait after attempt number `attempt` (from 1) has failed; `unit_random` is in [0, 1).

    With jitter it is anything from 0 to the back-off of that attempt ("full jitter"), so that many failures of one
    moment do not come back in one moment. Never more than `max_seconds`.
    """
    pause = min(policy.max_seconds, policy.initial_seconds * _growth(policy.backoff, max(attempt, 1)))
    return pause * unit_random if policy.jitter else pause


def _growth(backoff: str, attempt: int) -> float:
    if backoff == "fixed":
        return 1
    if backoff == "linear":
        return attempt
    return 2.0 ** min(attempt - 1, 64)  # past this every cap is reached, and larger powers overflow


def is_retryable(policy: RetryPolicy, error_class: str, http_status: int | None) -> bool:
    """Whether a failure is of the kind that the policy retries.

    `retry_on` lists classes ("timeout"), statuses (409), groups of statuses ("5xx") or "any"; when it is empty,
    connection errors, time-outs, 408, 425, 429 and 5xx are retried, other 4xx are not.
    """
    if policy.retry_on:
        wanted = policy.retry_on
        by_status = http_status is not None and (http_status in wanted or f"{http_status // 100}xx" in wanted)
        return by_status or error_class in wanted or "any" in wanted
    if http_status is not None:
        return http_status in RETRYABLE_STATUSES or 500 <= http_status <= 599
    return error_class in RETRYABLE_CLASSES
