"""Schedules over the days on which clocks change, fired from the gateway's definition to the ledger, slot by slot."""

from datetime import UTC, datetime, timedelta

from tests.integration.gateway.definitions import workflow
from tests.integration.scheduler.conftest import Timed, cron, every, ledger

NEW_YORK = "America/New_York"
QUARTER = timedelta(minutes=15)
SPRING = datetime(2027, 3, 14, 5, tzinfo=UTC)
"""Midnight in New York; two hours later the clocks there go from 02:00 to 03:00."""
AUTUMN = datetime(2027, 11, 7, 4, tzinfo=UTC)
"""Midnight in New York; two hours later the clocks there go from 02:00 back to 01:00."""
DAY = timedelta(hours=24)


async def fired(timed: Timed, key: str) -> list[str]:
    """When the trigger fired, in UTC; all its slots have an execution and were on time."""
    slots = await ledger(timed.world, key)
    assert {(outcome, has_execution) for _, outcome, has_execution in slots} == {("fired", True)}
    return [f"{planned:%dT%H:%M}" for planned, _, _ in slots]


async def watch(timed: Timed, start: datetime, *triggers: dict[str, object]) -> None:
    """Store the schedules at the start of a day and let that day pass."""
    await timed.set(start - timedelta(minutes=1))
    await timed.world.made(workflow(triggers=list(triggers)))
    await timed.look_every(QUARTER, start, start + DAY - QUARTER)


async def test_the_night_that_loses_an_hour(timed: Timed) -> None:
    await watch(
        timed, SPRING,
        cron("30 2 * * *", NEW_YORK, "in_the_gap"), cron("0 9 * * *", NEW_YORK, "morning"),
        cron("0 * * * *", NEW_YORK, "hourly"), every(6 * 3600, "six_hours"), cron("30 2 * * *", "UTC", "elsewhere"),
    )  # fmt: skip
    assert await fired(timed, "in_the_gap") == ["14T07:00"]  # 03:00, right after the jump
    assert await fired(timed, "morning") == ["14T13:00"]  # one hour earlier than the day before
    assert await fired(timed, "hourly") == [f"{SPRING + timedelta(hours=hour):%dT%H:%M}" for hour in range(24)]
    assert await fired(timed, "six_hours") == ["14T06:00", "14T12:00", "14T18:00", "15T00:00"]
    assert await fired(timed, "elsewhere") == ["15T02:30"]


async def test_the_night_that_has_an_hour_twice(timed: Timed) -> None:
    await watch(
        timed, AUTUMN,
        cron("30 1 * * *", NEW_YORK, "in_the_fold"), cron("0 9 * * *", NEW_YORK, "morning"),
        cron("*/30 * * * *", NEW_YORK, "half_hourly"),
    )  # fmt: skip
    assert await fired(timed, "in_the_fold") == ["07T05:30"]  # the first 01:30 and not the second
    assert await fired(timed, "morning") == ["07T14:00"]  # one hour later than the day before
    assert await fired(timed, "half_hourly") == [
        f"{AUTUMN + timedelta(minutes=30 * number):%dT%H:%M}" for number in range(48)
    ]


async def test_zones_with_odd_offsets_and_ends_of_months(timed: Timed) -> None:
    start = datetime(2028, 2, 28, 6, tzinfo=UTC)
    await watch(
        timed, start,
        cron("0 9 * * *", "Asia/Kathmandu", "kathmandu"), cron("0 0 29 2 *", "Pacific/Kiritimati", "leap_day"),
        cron("0 0 L * *", "UTC", "last_day"), cron("0 18 * * 1#4", "UTC", "fourth_monday"),
    )  # fmt: skip
    assert await fired(timed, "kathmandu") == ["29T03:15"]
    assert await fired(timed, "leap_day") == ["28T10:00"]
    assert await fired(timed, "last_day") == ["29T00:00"]
    assert await fired(timed, "fourth_monday") == ["28T18:00"]


async def test_an_edit_counts_from_the_moment_it_is_stored(timed: Timed) -> None:
    await timed.set(SPRING)
    made = await timed.world.made(workflow(triggers=[cron("0 9 * * *", NEW_YORK)]))
    await timed.look_every(QUARTER, SPRING + timedelta(hours=7), SPRING + timedelta(hours=9))
    document = {**workflow(triggers=[cron("0 9 * * *", "Europe/Berlin")])}
    assert (await timed.world.call("PUT", f"/workflows/{made['id']}", document)).status_code == 200
    await timed.look_every(QUARTER, SPRING + timedelta(hours=9), SPRING + timedelta(hours=30))
    assert await fired(timed, "tick") == ["14T13:00", "15T08:00"]
