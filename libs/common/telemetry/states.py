"""What an installation looks like at this moment: backlog, schedules that are due, what the doctor finds, bus, database
and Redis, the pool of connections.

A series is there once somebody has told it, and gone when it is untold: what a process does not know it does not
report. Several processes may report the same thing (every scheduler looks at the same database), so take the maximum.
"""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from libs.common.telemetry.registry import REGISTRY, declare

Labels = tuple[str, ...]


class State(Collector):
    """Numbers that are told as they are; a `_total` is a counter that somebody else keeps."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        kind = "counter" if name.endswith("_total") else "gauge"
        self._name, self._text, self._labels = declare(name, kind, text, labels).name, text, labels
        self._values: dict[Labels, float] = {}
        REGISTRY.register(self)

    def tell(self, value: float | None, *labels: str) -> None:
        """It is so now; None: nobody knows."""
        if value is None:
            self._values.pop(labels, None)
        else:
            self._values[labels] = value

    def tell_all(self, values: Mapping[Labels, float]) -> None:
        """These and no others."""
        self._values = dict(values)

    def describe(self) -> Sequence[CounterMetricFamily | GaugeMetricFamily]:
        """Its name."""
        kind = CounterMetricFamily if self._name.endswith("_total") else GaugeMetricFamily
        return [kind(self._name, self._text, labels=self._labels)]

    def collect(self) -> Sequence[CounterMetricFamily | GaugeMetricFamily]:
        """As it was told; nothing when nobody did."""
        if not self._values:
            return []
        [family] = self.describe()
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return [family]


BACKLOG = State("backlog_executions", "Executions that are ready and not taken, at most 20 000 are counted")
BACKLOG_AGE = State("backlog_age_seconds", "Since the trigger of the oldest execution that nobody ever took")
BUDGET = State("dispatch_budget", "Executions that all tenants together may have on the bus or running")
OUTSTANDING = State("dispatch_outstanding", "Executions that all tenants together have on the bus or running")
HELD = State("dispatch_held_executions", "Executions that wait for their tenants' turn, at most 20 000 are counted")
HELD_AGE = State("dispatch_held_age_seconds", "Since when the longest waits for its tenant's turn; 0: none does")
HELD_TENANTS = State("dispatch_held_tenants", "Tenants of whom something waits for a turn")
HELD_WITH_ROOM = State(
    "dispatch_held_with_room", "Tenants of whom something waits for a turn although window and budget have room"
)
WINDOW_USE = State("dispatch_window_use_max", "The largest share of its window that a tenant has under way")
OVERDUE = State("schedules_overdue", "Schedules that are due and not looked at, at most 20 000 are counted")
OVERDUE_AGE = State("schedule_overdue_seconds", "Since the longest due slot that nobody looked at; 0: there is none")
STUCK = State("doctor_findings", "What `signalbox doctor` finds, by disease, at most 1 000 of each", "disease")
EXECUTORS = State("executors_alive", "Executors that are alive by their lease in the database")
TENANT = State("tenant_info", "Always 1: the slug of a tenant that has series of its own", "tenant", "slug")
LOOKED = State("watch_seconds", "How long the latest look at the installation's state took")
LOOKED_AT = State("watched_timestamp_seconds", "When that look was, in seconds since 1970")

BUS_CONNECTED = State("bus_connected", "1 while this process can use the bus, else 0")
BUS_READY = State("bus_ready_messages", "Messages ready and not handed to a consumer, by lane: usual, bulk", "lane")
BUS_DEAD = State("bus_dead_letters", "Messages among the dead letters")

DATABASE_BYTES = State("database_bytes", "Size of the database")
DATABASE_CONNECTIONS = State("database_connections", "Connections to the database by what they do", "state")
DATABASE_LIMIT = State("database_max_connections", "Connections that the server allows")
DATABASE_AGE = State("database_oldest_transaction_seconds", "Age of the oldest transaction that is open")
DATABASE_TRANSACTIONS = State("database_transactions_total", "Transactions of the database", "outcome")
DATABASE_BLOCKS = State("database_blocks_total", "Blocks that were read, from memory or from the disk", "source")
DATABASE_ROWS = State("database_rows_total", "Rows that were written, by how", "operation")
DATABASE_DEADLOCKS = State("database_deadlocks_total", "Transactions that ended in a deadlock")
TABLE_BYTES = State(
    "table_bytes", "Size of a table, its indexes and partitions, at their last vacuum or analyze", "table"
)
TABLE_DEAD = State("table_dead_rows", "Rows of a table that wait for vacuum, all its partitions together", "table")

REDIS_UP = State("redis_up", "1 while this process can use Redis, else 0")
REDIS_BYTES = State("redis_memory_bytes", "Memory that Redis uses for data")
REDIS_LIMIT = State("redis_max_memory_bytes", "Memory that Redis may use; 0: no limit")
REDIS_CLIENTS = State("redis_clients", "Connections to Redis")
REDIS_COMMANDS = State("redis_commands_total", "Commands that Redis has done")
REDIS_EVICTED = State("redis_evicted_keys_total", "Keys that Redis threw away for want of memory")

BREAKER = State("breaker_open", "1 while something is not tried because it failed just now, else 0", "breaker")


class _Pool(Collector):
    """Tells of the pool when Prometheus asks, before the states that it tells are read."""

    def __init__(self) -> None:
        self.read: Callable[[], tuple[int, int, int]] | None = None
        REGISTRY.register(self)

    def describe(self) -> Sequence[GaugeMetricFamily]:
        """It has no series of its own."""
        return []

    def collect(self) -> Sequence[GaugeMetricFamily]:
        """Nothing of its own."""
        size, idle, most = self.read() if self.read is not None else (None, None, None)
        POOL.tell(None if size is None or idle is None else size - idle, "used")
        POOL.tell(idle, "idle")
        POOL_LIMIT.tell(most)
        return []


_pool = _Pool()
POOL = State("pool_connections", "Connections of this process's pool to PostgreSQL", "state")
POOL_LIMIT = State("pool_max_connections", "Most connections of that pool")


def show_pool(read: Callable[[], tuple[int, int, int]] | None) -> None:
    """`read` gives the connections that there are, those idle and the most there may be. None: the pool is closed."""
    _pool.read = read
