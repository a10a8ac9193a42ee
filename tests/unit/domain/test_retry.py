"""Retry times and which failures are retried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.retry import is_retryable, wait_seconds
from libs.common.domain.workflow import RetryPolicy


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [("fixed", [2, 2, 2, 2, 2]), ("linear", [2, 4, 6, 8, 10]), ("exponential", [2, 4, 8, 10, 10])],
)
def test_waits(backoff: str, expected: list[float]) -> None:
    policy = RetryPolicy(9, backoff, 2, 10, jitter=False)  # pyright: ignore[reportArgumentType]
    assert [wait_seconds(policy, attempt, 0.5) for attempt in range(1, 6)] == expected


def test_full_jitter_spreads_from_zero_to_the_back_off() -> None:
    policy = RetryPolicy(5, "exponential", 1, 300)
    assert wait_seconds(policy, 4, 0.0) == 0
    assert wait_seconds(policy, 4, 0.25) == 2


@given(
    st.builds(
        RetryPolicy,
        backoff=st.sampled_from(["fixed", "linear", "exponential"]),
        initial_seconds=st.floats(0, 1e6),
        max_seconds=st.floats(0, 1e6),
        jitter=st.booleans(),
    ),
    st.integers(-3, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_negative_nor_past_its_cap(policy: RetryPolicy, attempt: int, unit_random: float) -> None:
    assert 0 <= wait_seconds(policy, attempt, unit_random) <= policy.max_seconds


@given(st.floats(0, 1e4), st.integers(1, 40))
def test_waits_without_jitter_never_shrink(initial: float, attempt: int) -> None:
    policy = RetryPolicy(50, "exponential", initial, 1e6, jitter=False)
    assert wait_seconds(policy, attempt, 0) <= wait_seconds(policy, attempt + 1, 0)


@pytest.mark.parametrize(
    ("error_class", "status", "expected"),
    [
        ("http_status", 408, True),
        ("http_status", 425, True),
        ("http_status", 429, True),
        ("http_status", 500, True),
        ("http_status", 503, True),
        ("http_status", 400, False),
        ("http_status", 404, False),
        ("http_status", 302, False),
        ("connection", None, True),
        ("timeout", None, True),
        ("template_error", None, False),
        ("blocked_destination", None, False),
        ("failed", None, False),
    ],
)
def test_defaults(error_class: str, status: int | None, expected: bool) -> None:
    assert is_retryable(RetryPolicy(), error_class, status) is expected


def test_retry_on_replaces_the_defaults() -> None:
    policy = RetryPolicy(retry_on=("timeout", 409, "5xx"))
    assert is_retryable(policy, "timeout", None)
    assert is_retryable(policy, "http_status", 409)
    assert is_retryable(policy, "http_status", 502)
    assert not is_retryable(policy, "connection", None)
    assert not is_retryable(policy, "http_status", 429)
    assert is_retryable(RetryPolicy(retry_on=("any",)), "template_error", None)
