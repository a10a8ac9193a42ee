"""Which tenants have series of their own, by the one setting for it, and that their number stays bounded."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.errors import OperatorError
from libs.common.settings import load_settings
from libs.common.telemetry import metrics
from libs.common.telemetry.metrics import Acted, Reached
from libs.common.telemetry.tenants import OTHER, SERIES, Shown, TenantSeries

ONE, TWO, THREE = (UUID(int=0x7E4A_0000_0000 + number) for number in range(3))


@pytest.fixture
def series() -> Iterator[TenantSeries]:
    yield SERIES
    SERIES.show("off")


def told(series: TenantSeries) -> dict[tuple[str, ...], float]:
    found = [sample for family in series.collect() for sample in family.samples]
    return {(one.name.removeprefix("signalbox_tenant_"), *one.labels.values()): one.value for one in found}


def test_off_tells_nothing_of_tenants(series: TenantSeries) -> None:
    metrics.count_webhook_call("accepted", ONE)
    metrics.count_executions([Reached(ONE, "completed", seconds=1.0)])
    metrics.observe_actions([Acted(ONE, "set_variables", "completed")])
    series.waiting({ONE: 5})
    assert told(series) == {}


def test_all_tells_what_each_tenant_did(series: TenantSeries) -> None:
    metrics.show_tenants("all")
    metrics.count_webhook_call("signature", ONE)
    metrics.count_executions(
        [Reached(ONE, "running"), Reached(ONE, "completed", seconds=2.0), Reached(TWO, "waiting")],
    )
    metrics.observe_actions([Acted(TWO, "http_request", "failed"), Acted(TWO, "log", "failed")])
    series.waiting({TWO: 5})
    assert told(series) == {
        ("webhook_calls_total", str(ONE), "signature"): 1,
        ("executions_total", str(ONE), "completed"): 1, ("executions_total", str(TWO), "waiting"): 1,
        ("actions_total", str(TWO), "failed"): 2,
        ("execution_seconds_count", str(ONE)): 1, ("execution_seconds_sum", str(ONE)): 2.0,
        ("execution_seconds_count", str(TWO)): 0, ("execution_seconds_sum", str(TWO)): 0.0,
        ("backlog", str(ONE)): 0, ("backlog", str(TWO)): 5,
    }  # fmt: skip
    series.waiting({})
    assert told(series)["backlog", str(TWO)] == 0


def test_windows_are_told_while_they_are_used_and_those_of_others_together(series: TenantSeries) -> None:
    series.show(str(ONE))
    series.dispatched({ONE: (10, 3, 0), TWO: (20, 20, 7), THREE: (20, 1, 0)})
    names = ("window", "outstanding", "held")
    assert [[told(series)[name, label] for name in names] for label in (str(ONE), OTHER)] == [[10, 3, 0], [40, 21, 7]]
    series.dispatched({})
    assert not any((name, label) in told(series) for name in names for label in (str(ONE), OTHER))


def test_a_list_names_them_and_the_others_share_one() -> None:
    shown = Shown(f"{ONE},{TWO}")
    assert [shown.label(tenant) for tenant in (ONE, TWO, THREE)] == [str(ONE), str(TWO), OTHER]


def test_the_busiest_are_chosen_anew_and_who_leaves_loses_its_series(
    series: TenantSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("libs.common.telemetry.tenants.monotonic", lambda: now[0])
    series.show("top:1")

    def shown_after_calls_of(*tenants: UUID) -> set[str]:
        for tenant in tenants:
            series.called(tenant, "accepted")
        return {labels[1] for labels in told(series)} - {OTHER}

    assert shown_after_calls_of(ONE) == {str(ONE)}
    now[0] += 30
    assert shown_after_calls_of(TWO, TWO, TWO) == {str(ONE)}, "the choice stands for a minute"
    now[0] += 31
    assert shown_after_calls_of() == set()
    assert shown_after_calls_of(TWO) == {str(TWO)}
    assert told(series)["webhook_calls_total", str(TWO), "accepted"] == 1


def test_a_crowd_of_tenants_stays_within_the_bound(series: TenantSeries) -> None:
    series.show("top:5")
    for _ in range(10_000):
        series.called(new_id(), "accepted")
    tenants = {labels[1] for labels in told(series)}
    assert len(tenants) == 6
    assert told(series)["webhook_calls_total", OTHER, "accepted"] == 9_995


@pytest.mark.parametrize("wanted", ["off", "all", "top:20", str(ONE), f"{ONE},{TWO}"])
def test_the_setting_takes(wanted: str) -> None:
    assert load_settings({"SIGNALBOX_METRICS_TENANTS": wanted}).metrics_tenants == wanted


@pytest.mark.parametrize("wanted", ["", "some", "top:0", "top:x", "acme", f"{ONE};{TWO}", f"{ONE},", "all\n"])
def test_the_setting_refuses(wanted: str) -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_METRICS_TENANTS"):
        load_settings({"SIGNALBOX_METRICS_TENANTS": wanted})
