"""The series that Prometheus reads."""

import asyncio
import re
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.telemetry import metrics
from libs.common.telemetry.metrics import Acted, Reached
from libs.common.telemetry.registry import render_metrics
from tests.waiting import patience

TENANT = new_id()


def value(series: str) -> float:
    body, _ = render_metrics()
    match = re.search(rf"^{re.escape(series)} (\S+)$", body.decode(), re.MULTILINE)
    return float(match[1]) if match else 0.0


def test_everything_is_rendered_with_its_help() -> None:
    body, content_type = render_metrics()
    assert content_type.startswith("text/plain")
    names = set(re.findall(r"^# HELP (\S+) \S", body.decode(), re.MULTILINE))
    assert names == set(re.findall(r"^# TYPE (\S+) \S", body.decode(), re.MULTILINE))
    assert len(names) > 25
    assert all(name.startswith(("signalbox_", "process_")) for name in names)


def test_a_request_is_counted_and_timed() -> None:
    labels = 'method="GET",route="/x/{id}",service="test",status="200"'
    before = value(f"signalbox_http_requests_total{{{labels}}}")
    metrics.observe_http("test", "GET", "/x/{id}", 200, 0.004)
    assert value(f"signalbox_http_requests_total{{{labels}}}") == before + 1
    assert value('signalbox_http_request_seconds_bucket{le="0.005",route="/x/{id}",service="test"}') >= 1


def test_a_batch_of_actions_is_counted_by_type_and_status() -> None:
    done, skipped = (
        'signalbox_action_executions_total{status="completed",type="t"}',
        'signalbox_action_executions_total{status="skipped",type="t"}',
    )
    before = value(done), value(skipped), value('signalbox_action_seconds_count{type="t"}')
    metrics.observe_actions(
        [
            Acted(TENANT, "t", "completed", seconds=0.1),
            Acted(TENANT, "t", "completed", 2, 0.2),
            Acted(TENANT, "t", "skipped"),
        ]
    )
    assert (value(done), value(skipped)) == (before[0] + 2, before[1] + 1)
    assert value('signalbox_action_seconds_count{type="t"}') == before[2] + 2


def test_batches_of_statuses_and_claims() -> None:
    completed, taken = 'signalbox_executions_total{status="completed"}', 'signalbox_claims_total{outcome="taken"}'
    before = value(completed), value(taken)
    metrics.count_executions([Reached(TENANT, status) for status in ("completed", "failed", "running", "completed")])
    metrics.count_claims(5, 1)
    assert (value(completed), value(taken)) == (before[0] + 2, before[1] + 5)


async def test_a_blocked_loop_shows_as_lag() -> None:
    watching = asyncio.create_task(metrics.watch_loop_lag(interval_seconds=0.01))
    await asyncio.sleep(0)
    blocked = asyncio.get_running_loop().time() + 0.1
    while asyncio.get_running_loop().time() < blocked:
        pass
    async with patience():
        while value("signalbox_event_loop_lag_seconds") < 0.05:  # noqa: ASYNC110 - a gauge announces nothing
            await asyncio.sleep(0.01)
    watching.cancel()


def test_so_many_schedules_have_series_of_their_own_and_the_others_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_shown", metrics._ShownSchedules())  # pyright: ignore[reportPrivateUsage]
    one, two, three, four = (UUID(int=0xACE0 + number) for number in range(4))
    metrics.observe_firing(one, "fired", 1.0)
    assert value(f'signalbox_schedule_slot_lag_seconds_count{{trigger_id="{one}"}}') == 0, "none unless it is asked for"
    lag, missed = "signalbox_schedule_slot_lag_seconds", "signalbox_schedule_slots_missed_total"
    shared = f'{missed}{{trigger_id="other"}}', f'{lag}_sum{{trigger_id="other"}}'
    before = [value(series) for series in shared]
    metrics.show_schedules(2)
    for trigger, outcome, late in (
        (one, "fired", 0.5), (two, "missed", 90.0), (three, "missed", None), (four, "late", 7.0), (one, "late", 1.5),
    ):  # fmt: skip
        metrics.observe_firing(trigger, outcome, late)
    assert value(f'{lag}_count{{trigger_id="{one}"}}') == 2
    assert value(f'{lag}_sum{{trigger_id="{one}"}}') == 2.0
    assert value(f'{missed}{{trigger_id="{two}"}}') == 1
    assert [value(series) - start for series, start in zip(shared, before, strict=True)] == [1, 7.0]
    body, _ = render_metrics()
    assert str(three) not in body.decode()
    assert str(four) not in body.decode()
