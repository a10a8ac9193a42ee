"""Series of single tenants: what came in, what ran, how it ended, and how much waits.

One setting says which tenants have series of their own: none, all, those named, or the busiest so many; all others
share the label `other`. The label is the tenant's id. The busiest are chosen anew once a minute by what they did
lately; who is no longer among them loses its series, and begins at 0 when it comes back, which Prometheus takes for
the restart of a counter. So the number of series is bounded by the setting, whatever tenants do.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from uuid import UUID

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from libs.common.telemetry.registry import REGISTRY, declare

OTHER = "other"
MOST = 10_000
"""Series of their own, even when all tenants are to have them."""

_RANK_SECONDS = 60.0
_TALLIED = 10
"""Times the number of tenants shown: so many are kept in mind between two choices."""


class Shown:
    """Which tenants have series of their own. `wanted`: `off`, `all`, `top:20`, or ids separated by commas."""

    def __init__(self, wanted: str = "off") -> None:
        self._top = int(wanted.removeprefix("top:")) if wanted.startswith("top:") else 0
        self._fixed = not self._top
        self._most = {"off": 0, "all": MOST}.get(wanted, self._top)
        self._labels: dict[UUID, str] = {}
        if not self._most:
            ids = [] if wanted == "off" else wanted.split(",")
            self._labels = {UUID(text): str(UUID(text)) for text in map(str.strip, ids)}
        self.is_off = wanted == "off"
        self._busy: Tally[UUID] = Tally()
        self._ranked = 0.0

    def label(self, tenant_id: UUID) -> str:
        """The label of a tenant."""
        known = self._labels.get(tenant_id)
        if known is None:
            if len(self._labels) >= self._most:
                return OTHER
            known = self._labels[tenant_id] = str(tenant_id)
        return known

    def rank(self, now: float) -> list[str]:
        """Choose the busiest anew, once a minute; returns the labels that are in use no more."""
        if self._fixed or now < self._ranked + _RANK_SECONDS:
            return []
        self._ranked = now
        chosen = {tenant: self._labels.get(tenant) or str(tenant) for tenant, _ in self._busy.most_common(self._top)}
        gone = [label for tenant, label in self._labels.items() if tenant not in chosen]
        self._labels = chosen
        self._busy = Tally({tenant: work // 2 for tenant, work in self._busy.items() if work > 1})
        return gone

    def note(self, tenants: Iterable[UUID]) -> None:
        """Each of them did something, as often as it is named."""
        if self._top:
            for tenant_id, work in Tally(tenants).items():
                if tenant_id in self._busy or len(self._busy) < _TALLIED * self._top:
                    self._busy[tenant_id] += work


class _Figures:
    """Of one tenant."""

    __slots__ = ("actions", "backlog", "calls", "executions", "held", "outstanding", "seconds", "window")

    def __init__(self) -> None:
        self.calls: Tally[str] = Tally()
        self.executions: Tally[str] = Tally()
        self.actions: Tally[str] = Tally()
        self.seconds: tuple[int, float] = (0, 0.0)
        self.backlog = self.window = self.outstanding = self.held = 0


class TenantSeries(Collector):
    """The series of all tenants that are shown."""

    def __init__(self) -> None:
        self._shown = Shown()
        self._figures: dict[str, _Figures] = {}

    def show(self, wanted: str) -> None:
        """From now on these tenants, and nothing of what was before."""
        self._shown, self._figures = Shown(wanted), {}

    @property
    def is_off(self) -> bool:
        """Whether no tenant is shown: then nothing needs to be told."""
        return self._shown.is_off

    def called(self, tenant_id: UUID, outcome: str) -> None:
        """A webhook call of the tenant was answered."""
        if not self.is_off:
            self._shown.note((tenant_id,))
            self._of(tenant_id).calls[outcome] += 1

    def executed(self, reached: Sequence[tuple[UUID, str, str, float | None, float | None]]) -> None:
        """Executions reached a status: `metrics.Reached`, in its order."""
        self._shown.note(one[0] for one in reached)
        last, figures = None, _Figures()
        for tenant_id, status, _, took, _ in reached:
            if tenant_id is not last:  # a batch is often one tenant's, and looking up costs more than counting
                last, figures = tenant_id, self._of(tenant_id)
            if status != "running":
                figures.executions[status] += 1
            if took is not None:
                figures.seconds = figures.seconds[0] + 1, figures.seconds[1] + took

    def acted(self, reached: Iterable[tuple[UUID, str]]) -> None:
        """Action executions (of a tenant) reached a status."""
        last, figures = None, _Figures()
        for tenant_id, status in reached:
            if tenant_id is not last:
                last, figures = tenant_id, self._of(tenant_id)
            figures.actions[status] += 1

    def waiting(self, backlog: Mapping[UUID, int]) -> None:
        """So many executions of each tenant wait to be taken; of all others none."""
        for figures in self._figures.values():
            figures.backlog = 0
        if not self.is_off:
            for tenant_id, number in backlog.items():
                self._of(tenant_id).backlog += number

    def dispatched(self, windows: Mapping[UUID, tuple[int, int, int]]) -> None:
        """Of each tenant: its window, how much of it is in use, how much waits for its turn. Others use none of it."""
        for figures in self._figures.values():
            figures.window = figures.outstanding = figures.held = 0
        if not self.is_off:
            for tenant_id, (window, outstanding, held) in windows.items():
                figures = self._of(tenant_id)
                figures.window += window
                figures.outstanding += outstanding
                figures.held += held

    def describe(self) -> list[Metric]:
        """Its names."""
        return list(_families())

    def collect(self) -> Iterable[Metric]:
        """As it stands."""
        for label in self._shown.rank(monotonic()):
            self._figures.pop(label, None)
        families = calls, executions, actions, seconds, backlog, window, outstanding, held = _families()
        for label, figures in self._figures.items():
            for family, tally in ((calls, figures.calls), (executions, figures.executions), (actions, figures.actions)):
                for name, number in tally.items():
                    family.add_metric([label, name], number)
            count, total = figures.seconds
            seconds.add_metric([label], count, total)
            backlog.add_metric([label], figures.backlog)
            if figures.window:  # it has something under way, or somebody of these has
                window.add_metric([label], figures.window)
                outstanding.add_metric([label], figures.outstanding)
                held.add_metric([label], figures.held)
        return families

    def _of(self, tenant_id: UUID) -> _Figures:
        label = self._shown.label(tenant_id)
        figures = self._figures.get(label)
        if figures is None:
            figures = self._figures[label] = _Figures()
        return figures


def _families() -> tuple[
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    SummaryMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
]:
    calls, executions, actions, seconds, backlog, window, outstanding, held = _DECLARED
    return (
        CounterMetricFamily(calls.name, calls.text, labels=calls.labels),
        CounterMetricFamily(executions.name, executions.text, labels=executions.labels),
        CounterMetricFamily(actions.name, actions.text, labels=actions.labels),
        SummaryMetricFamily(seconds.name, seconds.text, labels=seconds.labels),
        GaugeMetricFamily(backlog.name, backlog.text, labels=backlog.labels),
        GaugeMetricFamily(window.name, window.text, labels=window.labels),
        GaugeMetricFamily(outstanding.name, outstanding.text, labels=outstanding.labels),
        GaugeMetricFamily(held.name, held.text, labels=held.labels),
    )


_DECLARED = [
    declare("tenant_webhook_calls_total", "counter", "Webhook calls of one tenant", ["tenant", "outcome"]),
    declare(
        "tenant_executions_total",
        "counter",
        "Executions of one tenant by the status they reached",
        ["tenant", "status"],
    ),
    declare("tenant_actions_total", "counter", "Action executions of one tenant by their status", ["tenant", "status"]),
    declare("tenant_execution_seconds", "summary", "From trigger to end, for one tenant", ["tenant"]),
    declare("tenant_backlog", "gauge", "Executions of one tenant that are ready and not taken", ["tenant"]),
    declare("tenant_window", "gauge", "Executions that one tenant may have on the bus or running", ["tenant"]),
    declare("tenant_outstanding", "gauge", "Executions that one tenant has on the bus or running", ["tenant"]),
    declare("tenant_held", "gauge", "Executions of one tenant that wait for its turn", ["tenant"]),
]
SERIES = TenantSeries()
REGISTRY.register(SERIES)
