"""Duty: looks at the state of the installation and tells the metrics: backlog, the windows of fair dispatch, late
schedules, what the doctor finds, dead letters, PostgreSQL. It changes nothing.

A look that fails leaves no old numbers behind: whoever reads the metrics sees that they are missing.
"""

from time import perf_counter

from libs.common.accept import Acceptor
from libs.common.clock import Clock, milliseconds_of
from libs.common.db import figures
from libs.common.db.pool import Connection, Database
from libs.common.db.workers import LEASE_SECONDS
from libs.common.doctor import CURES, Patient, examine
from libs.common.errors import Unavailable
from libs.common.security.encryption import Vault
from libs.common.telemetry import states
from libs.common.telemetry.tenants import SERIES

_LOOKS_A_CHECKUP = 4
"""The doctor looks at everything that waits, so he comes less often."""
_TABLES = 20
_TENANTS = 1_000
_DISEASES = (*(cure.disease for cure in CURES), "dead_letters", "bus_away")


class Watching:
    """Any number of schedulers may look: they tell the same."""

    name = "watching"

    def __init__(self, database: Database, vault: Vault, acceptor: Acceptor, clock: Clock, seconds: float) -> None:
        """`seconds`: between two looks."""
        self.least = self.most = seconds
        self._database, self._vault, self._acceptor, self._clock = database, vault, acceptor, clock
        self._looks = 0

    async def work(self) -> bool:
        """One look at everything."""
        started = perf_counter()
        try:
            async with self._database.connection() as connection:
                await self._look_at_work(connection)
                await _look_at_server(connection)
            await self._look_at_windows()
            if self._looks % _LOOKS_A_CHECKUP == 0:
                await self._examine()
            self._looks += 1
        except Unavailable:
            _forget()
            raise
        states.LOOKED.tell(perf_counter() - started)
        states.LOOKED_AT.tell(self._clock.now().timestamp())
        return False

    async def _look_at_work(self, connection: Connection) -> None:
        backlog = await figures.read_backlog(connection)
        oldest = min((milliseconds_of(one.oldest) / 1000 for one in backlog if one.oldest is not None), default=None)
        age = 0.0 if oldest is None else max(0.0, self._clock.now().timestamp() - oldest)
        states.BACKLOG.tell(sum(one.executions for one in backlog))
        states.BACKLOG_AGE.tell(age)
        SERIES.waiting({one.tenant_id: one.executions for one in backlog})
        schedules, seconds = await figures.overdue_schedules(connection)
        states.OVERDUE.tell(schedules)
        states.OVERDUE_AGE.tell(seconds)
        states.EXECUTORS.tell(await figures.workers_alive(connection, LEASE_SECONDS))
        if not SERIES.is_off:
            slugs = await figures.slugs_of_tenants(connection, _TENANTS)
            states.TENANT.tell_all({(str(tenant_id), slug): 1 for tenant_id, slug in slugs.items()})

    async def _look_at_windows(self) -> None:
        """What tenants may have under way, what they have, and what waits for its turn."""
        windows = self._acceptor.windows
        if windows is None:
            return
        counted = await windows.count()
        busy = [*{*counted.of, *counted.backlog}]
        standings = await windows.standings(busy)
        async with self._database.connection() as connection:
            held = await figures.read_held(connection, list(counted.backlog))
        states.BUDGET.tell(windows.budget)
        states.OUTSTANDING.tell(counted.total)
        states.HELD.tell(sum(one.executions for one in held.values()))
        states.HELD_AGE.tell(max((one.seconds for one in held.values()), default=0.0))
        states.HELD_TENANTS.tell(len(counted.backlog))
        uses = {tenant: counted.of.get(tenant, 0) / standing.window for tenant, standing in standings.items()}
        states.WINDOW_USE.tell(max(uses.values(), default=0.0))
        has_room = counted.total < windows.budget
        states.HELD_WITH_ROOM.tell(sum(has_room and uses.get(tenant, 1.0) < 1 for tenant in counted.backlog))
        SERIES.dispatched({
            tenant: (standing.window, counted.of.get(tenant, 0), held[tenant].executions if tenant in held else 0)
            for tenant, standing in standings.items()
        })  # fmt: skip

    async def _examine(self) -> None:
        """What `signalbox doctor` would find. The bus is asked for its dead letters beside it."""
        patient = Patient(self._database, self._vault, self._clock, self._acceptor.announce_known, self._acceptor)
        found = {one.disease: one.count for one in await examine(patient)}
        states.STUCK.tell_all({(disease,): found.get(disease, 0) for disease in _DISEASES})
        states.BUS_DEAD.tell(None if "bus_away" in found else found.get("dead_letters", 0))


async def _look_at_server(connection: Connection) -> None:
    row = await figures.read_server(connection)
    states.DATABASE_BYTES.tell(row["bytes"])
    states.DATABASE_LIMIT.tell(row["max_connections"])
    states.DATABASE_AGE.tell(row["oldest_seconds"])
    states.DATABASE_DEADLOCKS.tell(row["deadlocks"])
    for outcome, column in (("committed", "xact_commit"), ("rolled_back", "xact_rollback")):
        states.DATABASE_TRANSACTIONS.tell(row[column], outcome)
    for source, column in (("memory", "blks_hit"), ("disk", "blks_read")):
        states.DATABASE_BLOCKS.tell(row[column], source)
    for operation in ("inserted", "updated", "deleted"):
        states.DATABASE_ROWS.tell(row[f"tup_{operation}"], operation)
    connections = await figures.connections_by_state(connection)
    states.DATABASE_CONNECTIONS.tell_all({(state,): number for state, number in connections.items()})
    tables = await figures.largest_tables(connection, _TABLES)
    states.TABLE_BYTES.tell_all({(table.name,): table.bytes for table in tables})
    states.TABLE_DEAD.tell_all({(table.name,): table.dead_rows for table in tables})


def _forget() -> None:
    """Nothing is known while PostgreSQL is away."""
    for state in (
        states.BACKLOG,
        states.BACKLOG_AGE,
        states.BUDGET,
        states.OUTSTANDING,
        states.HELD,
        states.HELD_AGE,
        states.HELD_TENANTS,
        states.HELD_WITH_ROOM,
        states.WINDOW_USE,
        states.OVERDUE,
        states.OVERDUE_AGE,
        states.EXECUTORS,
        states.STUCK,
    ):
        state.tell_all({})
