"""Schedules in words: what a reader is told must be what the schedule does."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.domain.schedule_config import AtSchedule, CronSchedule, DateRange, IntervalSchedule
from libs.common.domain.schedule_text import describe

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("0 9 * * 1-5", "At 09:00, Monday through Friday"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("15 30 2 * * *", "At 02:30:15"),
        ("@hourly", "Every hour"),
        ("@yearly", "At 00:00, on day 1 of the month, only in January"),
        ("0 0 L * *", "At 00:00, on the last day of the month"),
        ("0 0 LW * *", "At 00:00, on the last weekday of the month"),
        ("0 0 15W * *", "At 00:00, on the weekday nearest day 15 of the month"),
        ("0 0 * * FRI#2", "At 00:00, on the second Friday of the month"),
        ("0 0 * * friL", "At 00:00, on the last Friday of the month"),
        ("0 0 13 * 5", "At 00:00, on day 13 of the month, or on Friday"),
        # where cron-descriptor would say something else than the calendar does
        ("0 0 */2 * 2", "At 00:00 on every second day of month if it's on Tuesday"),
        ("0 0 1,L * *", "At 00:00 on the first and the last day of month"),
        ("0 0 * * 0#1,7#3", "At 00:00 on the first Sunday of the month and the third Sunday of the month"),
        ("0 0 1W,15W * *", "At 00:00, on the first weekday of the month; "
                           "at 00:00, on the weekday nearest day 15 of the month"),
        ("0 0 LW,13 * 1", "At 00:00, on the last weekday of the month, or on Monday; "
                          "at 00:00, on day 13 of the month, or on Monday"),
        ("0 0 */2,15W * 1", "Cron 0 0 */2,15W * 1"),
    ],
)  # fmt: skip
def test_expressions(expression: str, text: str) -> None:
    assert describe(CronSchedule(expression=expression)) == f"{text} (UTC)"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (CronSchedule(expressions=("0 9 * * *", "30 17 * * *"), timezone="Europe/Paris"),
         "At 09:00; at 17:30 (Europe/Paris)"),
        (CronSchedule(expression="0 9 * * *", start_at=NEW_YEAR, end_at=NEW_YEAR, max_runs=3, jitter_seconds=2.5),
         "At 09:00 (UTC), from 2026-01-01T00:00:00Z, until 2026-01-01T00:00:00Z, 3 times at most,"
         " each up to 2.5 seconds later"),
        (CronSchedule(expression="0 9 * * *", exclude=(
            "2026-12-25", DateRange(date(2026, 1, 1), date(2026, 1, 6)), "* * * * 0")),
         "At 09:00 (UTC), except 2026-12-25; 2026-01-01 to 2026-01-06; every minute, only on Sunday"),
        (CronSchedule(expression="0 9 * * *", exclude=("2026-12-25",) * 8),
         "At 09:00 (UTC), except 2026-12-25; 2026-12-25; 2026-12-25; 2026-12-25; 2026-12-25; and 3 more"),
        (IntervalSchedule(minutes=30), "Every 30 minutes"),
        (IntervalSchedule(weeks=1), "Every week"),
        (IntervalSchedule(seconds=1.5), "Every 1.5 seconds"),
        (IntervalSchedule(days=1, hours=12, anchor=NEW_YEAR),
         "Every 1 day, 12 hours, counted from 2026-01-01T00:00:00Z"),
        (IntervalSchedule(hours=1, max_runs=1), "Every hour, once"),
        (AtSchedule(at=NEW_YEAR), "Once at 2026-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_whole_configs(config: Any, text: str) -> None:
    assert describe(config) == text


item = st.sampled_from("0 1 */2 1-3 L LW 15W 1W,5W 1#2 5L 1#1,2#2 * 30 mon 1,L 2-10/3".split())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(item, min_size=5, max_size=6).map(" ".join))
def test_any_expression_has_words(expression: str) -> None:
    assert describe(CronSchedule(expression=expression)).endswith(" (UTC)")
