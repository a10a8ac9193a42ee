"""What happens in a Signalbox process, as Prometheus reads it: every such series is declared here, once, with the
functions that feed it. What things look like at a moment is in `states.py`, figures of single tenants in `tenants.py`.

Callers say what happened; names, labels and buckets are decided here. No label takes its values from a user or an
address, so the number of series stays bounded; of schedules so many have series of their own as `show_schedules`
allows, of tenants those that `show_tenants` names. One process, one registry.
"""

import asyncio
import platform
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Literal, NamedTuple
from uuid import UUID

from prometheus_client import Counter, Gauge

from libs.common.telemetry.histogram import Series
from libs.common.telemetry.registry import counter as _counter
from libs.common.telemetry.registry import gauge as _gauge
from libs.common.telemetry.registry import histogram as _histogram
from libs.common.telemetry.registry import summary as _summary
from libs.common.telemetry.tenants import SERIES

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
WEBHOOK_ROUTE = "/webhooks/{trigger_id}"
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)

_http_requests = _counter("http_requests_total", "HTTP requests answered", "service", "method", "route", "status")
_http_seconds = _histogram("http_request_seconds", "Time to answer an HTTP request", _FAST, "service", "route")
_limit_refusals = _counter("limit_refusals_total", "What was refused by limits of tenants", "limit")
_webhook_calls = _counter("webhook_calls_total", "Webhook calls by what became of them", "outcome")
_accept_items = _histogram("accept_flush_items", "Executions and calls accepted by one commit", _SIZES)
_accept_seconds = _histogram("accept_flush_seconds", "Time of one commit of accepted executions", _FAST)
_accept_failures = _counter("accept_failures_total", "Executions and calls that could not be committed")
_spool_calls = _counter("spool_calls_total", "Calls that waited on the disk while PostgreSQL was away", "outcome")
_journal_items = _histogram("journal_flush_items", "Records written by one commit of the journal", _SIZES)
_journal_seconds = _histogram("journal_flush_seconds", "Time of one commit of the journal", _FAST)
_journal_retries = _counter("journal_retries_total", "Commits of the journal that were tried again")
_bus_published = _counter(
    "bus_published_total", "Messages published, by lane; unknown: to be published again", "outcome", "lane"
)
_bus_publish_seconds = _histogram("bus_publish_seconds", "Time until messages published together are confirmed", _FAST)
_bus_deliveries = _counter("bus_deliveries_total", "Messages consumed, by how they were settled", "outcome")
_exchange_events = _counter(
    "exchange_messages_total", "Messages of the events exchange, by what became of them", "outcome"
)
_live_events = _counter("live_events_total", "Live events by whether they reached Redis", "outcome")
_live_streams = _gauge("live_streams", "Followers of executions: event streams and sockets that are open", "kind")
_claims = _counter("claims_total", "Executions claimed; lost: somebody else has a newer epoch", "outcome")
_executions = _counter("executions_total", "Executions by the status they reached", "status")
_execution_seconds = _histogram("execution_seconds", "From the trigger to the end, waits included", _SLOW, "status")
_execution_queued = _histogram("execution_queued_seconds", "From the trigger until an executor first had it", _SLOW)
_waits = _counter("execution_waits_total", "Executions put down to wait, by what for", "reason")
_actions = _counter(
    "action_executions_total", "Action executions by type and the status they reached", "type", "status"
)
_action_seconds = _histogram("action_seconds", "Time of one action execution", _SLOW, "type")
_retries = _counter(
    "action_retries_total", "Attempts after the first that have ended, by type and status", "type", "status"
)
_firings = _counter("firings_total", "Due slots of schedules by outcome", "outcome")
_schedule_lag = _histogram("schedule_lag_seconds", "Time between the planned and the actual firing", _SLOW)
_slot_lag = _summary("schedule_slot_lag_seconds", "As schedule_lag_seconds, for one schedule", "trigger_id")
_slots_missed = _counter("schedule_slots_missed_total", "Slots of one schedule that were missed", "trigger_id")
_republished = _counter("sweep_republished_total", "Executions that the sweep put on the bus again")
_dispatched = _counter("dispatched_total", "Executions let go that waited for their tenant's turn")
_recovered = _counter("sweep_recovered_total", "Executions taken from workers whose lease had ended")
_loop_lag = _gauge("event_loop_lag_seconds", "How late the event loop woke a sleeper, worst of the last seconds")
_lease_left = _gauge("worker_lease_seconds", "Time left on this worker's lease when it was last renewed")
_running = _gauge("executor_running", "Executions under way in this process")
_slots = _gauge("executor_slots", "Executions that may be under way at once in this process")
_pool_wait = _histogram("pool_wait_seconds", "Time until the pool gave a connection to PostgreSQL", _FAST)
_database_away = _counter("database_away_total", "Uses of PostgreSQL that failed because it was away")
_build = _gauge("build_info", "Always 1; the labels say what is running", "service", "version", "python")
_spans = _counter("spans_total", "Spans by whether the receiver of traces took them", "outcome")


# Looking a series up by its labels costs more than counting: the busiest are looked up once.
_published = {
    (confirmed, bulk): _bus_published.labels("confirmed" if confirmed else "unknown", "bulk" if bulk else "prompt")
    for confirmed in (True, False)
    for bulk in (True, False)
}
_settled = {outcome: _bus_deliveries.labels(outcome) for outcome in ("acked", "rejected", "put_back", "failed")}
_pool_waited = _pool_wait.labels()
_accepted_items, _accepted_seconds = _accept_items.labels(), _accept_seconds.labels()
_journaled_items, _journaled_seconds = _journal_items.labels(), _journal_seconds.labels()
_publish_seconds = _bus_publish_seconds.labels()
_queued = _execution_queued.labels()


def show_tenants(wanted: str) -> None:
    """Which tenants have series of their own in this process: see `tenants.Shown`."""
    SERIES.show(wanted)


def observe_http(service: str, method: str, route: str, status: int, seconds: float, traceparent: str = "") -> None:
    """One request was answered. `route` is the pattern, never the path; `traceparent` as it came, or none."""
    requests, durations = _http_series(service, method, route, status)
    requests.inc()
    durations.observe(seconds, traceparent)


@lru_cache(maxsize=1024)
def _http_series(service: str, method: str, route: str, status: int) -> tuple[Counter, Series]:
    return _http_requests.labels(service, method, route, status), _http_seconds.labels(service, route)


def count_limit_refusal(limit: str) -> None:
    """Something was refused because of that limit of a tenant."""
    _limit_refusals.labels(limit).inc()


def count_webhook_call(outcome: str, tenant_id: UUID | None = None) -> None:
    """One call of a webhook was answered; `tenant_id` None: it found none."""
    _webhook_outcome(outcome).inc()
    if tenant_id is not None:
        SERIES.called(tenant_id, outcome)


@lru_cache(maxsize=64)
def _webhook_outcome(outcome: str) -> Counter:
    return _webhook_calls.labels(outcome)


def observe_accept_flush(size: int, seconds: float) -> None:
    """One commit accepted `size` executions and calls."""
    _accepted_items.observe(size)
    _accepted_seconds.observe(seconds)


def count_accept_failures(size: int) -> None:
    """So many executions and calls could not be committed; whoever brought them knows it."""
    _accept_failures.inc(size)


def count_spooled(outcome: Literal["spooled", "delivered", "refused"], calls: int) -> None:
    """So many calls went to the spool, came from there into the database, or were refused by it."""
    _spool_calls.labels(outcome).inc(calls)


def observe_journal_flush(size: int, seconds: float) -> None:
    """One commit of the journal wrote `size` records."""
    _journaled_items.observe(size)
    _journaled_seconds.observe(seconds)


def count_journal_retry() -> None:
    """A commit of the journal has to be tried again."""
    _journal_retries.inc()


def observe_publish(seconds: float) -> None:
    """The broker took so long to confirm what was published together."""
    _publish_seconds.observe(seconds)


def count_published(messages: int, *, confirmed: bool, bulk: bool = False) -> None:
    """So many messages were published together into that lane; not confirmed means that their fate is unknown."""
    _published[confirmed, bulk].inc(messages)


def count_delivery(outcome: Literal["acked", "rejected", "put_back", "failed"]) -> None:
    """One message was settled."""
    _settled[outcome].inc()


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


class Reached(NamedTuple):
    """An execution reached a status (`running` is not counted). `seconds` from its trigger to its end, `queued` from
    its trigger until an executor first had it: None unless that is now.
    """

    tenant_id: UUID
    status: str
    traceparent: str = ""
    seconds: float | None = None
    queued: float | None = None


def count_executions(reached: Sequence[Reached]) -> None:
    """These statuses were reached, one for each execution."""
    for status, number in Tally(one.status for one in reached if one.status != "running").items():
        _executions.labels(status).inc(number)
    for one in reached:
        if one.queued is not None:
            _queued.observe(one.queued)
        if one.seconds is not None:
            _execution_seconds.labels(one.status).observe(one.seconds, one.traceparent)
    if not SERIES.is_off:
        SERIES.executed(reached)


def count_waits(reasons: Iterable[str]) -> None:
    """Executions were put down: `time`, `signal` (an event, a decision, another execution), `slot` or `pause`."""
    for reason, number in Tally(reasons).items():
        _waits.labels(reason).inc(number)


class Acted(NamedTuple):
    """An action execution reached a status. `seconds` None: it has not ended, or did not run."""

    tenant_id: UUID
    type: str
    status: str
    attempt: int = 1
    seconds: float | None = None
    traceparent: str = ""


def observe_actions(records: Sequence[Acted]) -> None:
    """These statuses were reached."""
    for (kind, status), number in Tally((one.type, one.status) for one in records).items():
        _action_series(kind, status).inc(number)
    for one in records:
        if one.seconds is not None:
            _action_seconds.labels(one.type).observe(one.seconds, one.traceparent)
            if one.attempt > 1:
                _retries.labels(one.type, one.status).inc()
    if not SERIES.is_off:
        SERIES.acted((one.tenant_id, one.status) for one in records)


@lru_cache(maxsize=1024)
def _action_series(kind: str, status: str) -> Counter:
    return _actions.labels(kind, status)


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
        _schedule_lag.labels().observe(lag_seconds)
    if _shown.most:
        label = _shown.label(trigger_id)
        if outcome == "missed":
            _slots_missed.labels(label).inc()
        elif lag_seconds is not None:
            _slot_lag.labels(label).observe(lag_seconds)


def count_republished(executions: int) -> None:
    """The sweep put so many executions on the bus again."""
    _republished.inc(executions)


def count_dispatched(executions: int) -> None:
    """It was the turn of so many executions that waited."""
    _dispatched.inc(executions)


def count_recovered(executions: int) -> None:
    """So many executions were taken from workers whose lease had ended."""
    _recovered.inc(executions)


def set_lease_left(seconds: float) -> None:
    """This worker's lease was renewed with so much time left."""
    _lease_left.set(seconds)


def set_running(executions: int) -> None:
    """So many executions are under way in this process."""
    _running.set(executions)


def set_slots(executions: int) -> None:
    """So many executions may be under way in this process."""
    _slots.set(executions)


def observe_pool_wait(seconds: float) -> None:
    """The pool took so long to give a connection."""
    _pool_waited.observe(seconds)


def count_database_away() -> None:
    """PostgreSQL could not be used."""
    _database_away.inc()


def count_spans(outcome: Literal["exported", "failed"], spans: int) -> None:
    """So many spans were sent to the receiver of traces, or given up."""
    _spans.labels(outcome).inc(spans)


def set_build(service: str, version: str) -> None:
    """Say what is running. Outcomes that somebody waits for begin at 0: a rate knows of the first one then."""
    _build.labels(service, version, platform.python_version()).set(1)
    for name, family, outcomes in _AWAITED:
        if service in (name, "up"):
            for outcome in outcomes:
                family.labels(outcome)
    if service in ("webhooks", "up"):
        _http_requests.labels("webhooks", "POST", WEBHOOK_ROUTE, 503)


_AWAITED: tuple[tuple[str, Counter | Gauge, tuple[str, ...]], ...] = (
    ("gateway", _live_streams, ("stream", "socket")),
    ("webhooks", _spool_calls, ("spooled", "delivered", "refused")),
    ("webhooks", _webhook_calls, ("accepted", "signature", "unavailable", "internal")),
    ("scheduler", _firings, ("fired", "late", "missed", "caught_up", "skipped_overlap", "suppressed")),
    ("executor", _claims, ("taken", "lost")),
    ("executor", _executions, ("completed", "failed", "cancelled", "timed_out", "waiting")),
    ("executor", _live_events, ("delivered", "dropped")),
)


async def watch_loop_lag(interval_seconds: float = 0.25, window: int = 20) -> None:
    """Measure, until cancelled, how late the event loop is; reports the worst of the last `window` intervals."""
    worst: list[float] = []
    while True:
        started = perf_counter()
        await asyncio.sleep(interval_seconds)
        worst = [*worst[-window + 1 :], max(0.0, perf_counter() - started - interval_seconds)]
        _loop_lag.set(max(worst))
