"""Every series that a Signalbox process reports, declared once, with the functions that feed it.

Callers say what happened; names, labels and buckets are decided here. No label takes its values from a tenant, a user
or an address, so the number of series stays bounded; of schedules so many have series of their own as `show_schedules`
allows. One process, one registry.
"""

import asyncio
import platform
from collections import Counter as Tally
from collections.abc import Iterable
from functools import lru_cache
from time import perf_counter
from typing import Literal
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

REGISTRY = CollectorRegistry(auto_describe=False)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"signalbox_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"signalbox_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"signalbox_{name}", text, labels, buckets=buckets, registry=REGISTRY)


_http_requests = _counter("http_requests_total", "HTTP requests answered", "service", "method", "route", "status")
_http_seconds = _histogram("http_request_seconds", "Time to answer an HTTP request", _FAST, "service", "route")
_webhook_calls = _counter("webhook_calls_total", "Webhook calls by what became of them", "outcome")
_accept_items = _histogram("accept_flush_items", "Executions and calls accepted by one commit", _SIZES)
_accept_seconds = _histogram("accept_flush_seconds", "Time of one commit of accepted executions", _FAST)
_journal_items = _histogram("journal_flush_items", "Records written by one commit of the journal", _SIZES)
_journal_seconds = _histogram("journal_flush_seconds", "Time of one commit of the journal", _FAST)
_bus_published = _counter("bus_published_total", "Messages published; unknown: to be published again", "outcome")
_bus_deliveries = _counter("bus_deliveries_total", "Messages consumed, by how they were settled", "outcome")
_bus_ready = _gauge("bus_ready_messages", "Messages ready and not handed to a consumer")
_bus_dead = _gauge("bus_dead_letters", "Messages among the dead letters")
_bus_connected = _gauge("bus_connected", "1 while the bus can be used, else 0")
_exchange_events = _counter(
    "exchange_messages_total", "Messages of the events exchange, by what became of them", "outcome"
)
_live_events = _counter("live_events_total", "Live events by whether they reached Redis", "outcome")
_live_streams = _gauge("live_streams", "Followers of executions: event streams and sockets that are open", "kind")
_claims = _counter("claims_total", "Executions claimed; lost: somebody else has a newer epoch", "outcome")
_executions = _counter("executions_total", "Executions by the status they reached", "status")
_actions = _counter(
    "action_executions_total", "Action executions by type and the status they reached", "type", "status"
)
_action_seconds = _histogram("action_seconds", "Time of one action execution", _SLOW, "type")
_firings = _counter("firings_total", "Due slots of schedules by outcome", "outcome")
_schedule_lag = _histogram("schedule_lag_seconds", "Time between the planned and the actual firing", _SLOW)
_slot_lag = Summary(
    "signalbox_schedule_slot_lag_seconds",
    "As schedule_lag_seconds, for one schedule",
    ["trigger_id"],
    registry=REGISTRY,
)
_slots_missed = _counter("schedule_slots_missed_total", "Slots of one schedule that were missed", "trigger_id")
_republished = _counter("sweep_republished_total", "Executions that the sweep put on the bus again")
_recovered = _counter("sweep_recovered_total", "Executions taken from workers whose lease had ended")
_loop_lag = _gauge("event_loop_lag_seconds", "How late the event loop woke a sleeper, worst of the last seconds")
_lease_left = _gauge("worker_lease_seconds", "Time left on this worker's lease when it was last renewed")
_running = _gauge("executor_running", "Executions under way in this process")
_build = _gauge("build_info", "Always 1; the labels say what is running", "service", "version", "python")
_spans = _counter("spans_total", "Spans by whether the receiver of traces took them", "outcome")


# Looking a series up by its labels costs more than counting: the busiest are looked up once.
_published = {True: _bus_published.labels("confirmed"), False: _bus_published.labels("unknown")}
_settled = {outcome: _bus_deliveries.labels(outcome) for outcome in ("acked", "rejected", "put_back", "failed")}


def observe_http(service: str, method: str, route: str, status: int, seconds: float) -> None:
    """One request was answered. `route` is the pattern, never the path."""
    requests, durations = _http_series(service, method, route, status)
    requests.inc()
    durations.observe(seconds)


@lru_cache(maxsize=1024)
def _http_series(service: str, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return _http_requests.labels(service, method, route, status), _http_seconds.labels(service, route)


def count_webhook_call(outcome: str) -> None:
    """One call of a webhook was answered."""
    _webhook_outcome(outcome).inc()


@lru_cache(maxsize=64)
def _webhook_outcome(outcome: str) -> Counter:
    return _webhook_calls.labels(outcome)


def observe_accept_flush(size: int, seconds: float) -> None:
    """One commit accepted `size` executions and calls."""
    _accept_items.observe(size)
    _accept_seconds.observe(seconds)


def observe_journal_flush(size: int, seconds: float) -> None:
    """One commit of the journal wrote `size` records."""
    _journal_items.observe(size)
    _journal_seconds.observe(seconds)


def count_published(messages: int, *, confirmed: bool) -> None:
    """So many messages were published together; not confirmed means that their fate is unknown."""
    _published[confirmed].inc(messages)


def count_delivery(outcome: Literal["acked", "rejected", "put_back", "failed"]) -> None:
    """One message was settled."""
    _settled[outcome].inc()


def set_bus_state(*, connected: bool, ready: int | None = None, dead: int | None = None) -> None:
    """What the bus looks like now; `None` leaves a number as it was."""
    _bus_connected.set(connected)
    if ready is not None:
        _bus_ready.set(ready)
    if dead is not None:
        _bus_dead.set(dead)


def count_exchange_message(outcome: str) -> None:
    """One message of the events exchange was raised, was there before, or was refused for this reason."""
    _exchange_events.labels(outcome).inc()


def count_live_events(events: int, *, delivered: bool) -> None:
    """So many live events reached Redis, or were dropped."""
    _live_events.labels("delivered" if delivered else "dropped").inc(events)


def add_live_stream(kind: Literal["stream", "socket"], change: Literal[1, -1]) -> None:
    """A follower came, or left."""
    _live_streams.labels(kind).inc(change)


def count_claims(taken: int, lost: int) -> None:
    """Of one batch so many executions were taken, and so many had gone to somebody else."""
    if taken:
        _claims.labels("taken").inc(taken)
    if lost:
        _claims.labels("lost").inc(lost)


def count_executions(statuses: Iterable[str]) -> None:
    """These statuses were reached, one for each execution."""
    for status, number in Tally(statuses).items():
        _executions.labels(status).inc(number)


def observe_actions(records: Iterable[tuple[str, str, float | None]]) -> None:
    """Action executions reached a status: (type, status, seconds), seconds being `None` for one that did not run."""
    tally: Tally[tuple[str, str]] = Tally()
    for kind, status, seconds in records:
        tally[kind, status] += 1
        if seconds is not None:
            _action_seconds.labels(kind).observe(seconds)
    for (kind, status), number in tally.items():
        _actions.labels(kind, status).inc(number)


class _ShownSchedules:
    """Which schedules have series of their own: the first that fire, up to a number; the others share one."""

    def __init__(self) -> None:
        self.most = 0
        self._labels: dict[UUID, str] = {}

    def label(self, trigger_id: UUID) -> str:
        known = self._labels.get(trigger_id)
        if known is None:
            if len(self._labels) >= self.most:
                return "other"
            known = self._labels[trigger_id] = str(trigger_id)
        return known


_shown = _ShownSchedules()


def show_schedules(most: int) -> None:
    """So many schedules have series of their own in this process."""
    _shown.most = most


def observe_firing(trigger_id: UUID, outcome: str, lag_seconds: float | None = None) -> None:
    """One due slot of a schedule got its outcome, so long after its planned time."""
    _firings.labels(outcome).inc()
    if lag_seconds is not None:
        _schedule_lag.observe(lag_seconds)
    if _shown.most:
        label = _shown.label(trigger_id)
        if outcome == "missed":
            _slots_missed.labels(label).inc()
        elif lag_seconds is not None:
            _slot_lag.labels(label).observe(lag_seconds)


def count_republished(executions: int) -> None:
    """The sweep put so many executions on the bus again."""
    _republished.inc(executions)


def count_recovered(executions: int) -> None:
    """So many executions were taken from workers whose lease had ended."""
    _recovered.inc(executions)


def set_lease_left(seconds: float) -> None:
    """This worker's lease was renewed with so much time left."""
    _lease_left.set(seconds)


def set_running(executions: int) -> None:
    """So many executions are under way in this process."""
    _running.set(executions)


def count_spans(outcome: Literal["exported", "failed"], spans: int) -> None:
    """So many spans were sent to the receiver of traces, or given up."""
    _spans.labels(outcome).inc(spans)


def set_build(service: str, version: str) -> None:
    """Say what is running."""
    _build.labels(service, version, platform.python_version()).set(1)


async def watch_loop_lag(interval_seconds: float = 0.25, window: int = 20) -> None:
    """Measure, until cancelled, how late the event loop is; reports the worst of the last `window` intervals."""
    worst: list[float] = []
    while True:
        started = perf_counter()
        await asyncio.sleep(interval_seconds)
        worst = [*worst[-window + 1 :], max(0.0, perf_counter() - started - interval_seconds)]
        _loop_lag.set(max(worst))


def render_metrics() -> tuple[bytes, str]:
    """All series in the Prometheus text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
