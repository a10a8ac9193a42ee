"""The tables of the simulated database: their rows, and what every statement on them needs.

What becomes of an execution or of a record is told to `watch`, when it is committed. Flaws are what the simulation
must notice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Protocol
from uuid import UUID

from libs.common.db.versions import VersionKey
from libs.common.domain.execution import TERMINAL
from tests.simulation.store import Store

INFINITY = datetime.max.replace(tzinfo=UTC)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
PARKED = ("pending", "waiting")
UNSTORABLE = "unstorable value"
"""In an output: the database refuses it for what it holds."""
_ENDED = frozenset(status.value for status in TERMINAL)

Place = tuple[int, int, int]
"""Position, iteration, attempt."""
Answer = list[dict[str, Any]]
Statement = Callable[..., Answer]


class Flaw(Enum):
    """What is wrong with this database, on purpose.

    A rescue, pause or cancellation that merely keeps the epoch is not among them, because nothing can come of it: what
    it frees has no holder, and whoever takes it next moves the epoch. Only a rescue that turns it back does harm.
    """

    NO_EPOCH_CHECK = auto()
    NO_OWNER_CHECK = auto()
    RESCUE_TURNS_BACK = auto()
    DEAD_ARE_NOT_FOUND = auto()
    WAKE_IS_FINAL = auto()
    PENDING_ARE_NOT_SWEPT = auto()
    RECORDS_ARE_LOST = auto()
    RECORDS_ARE_NOT_READ = auto()
    ANSWERS_BEFORE_COMMIT = auto()
    ANSWERS_FOR_ALL = auto()
    PAUSE_IS_FORGOTTEN = auto()
    CANCEL_LEAVES_RECORDS_OPEN = auto()
    SIGNALS_DO_NOT_LOCK = auto()
    PARKED_ARE_NOT_LOOKED_AFTER = auto()
    PARENTS_ARE_NOT_TOLD = auto()
    CHILDREN_LIVE_ON = auto()
    SLOTS_ARE_KEPT = auto()
    NEXT_IN_QUEUE_IS_FORGOTTEN = auto()
    HOLDERS_ARE_NOT_WOKEN = auto()
    TRANSACTIONS_ARE_TORN = auto()
    RESULTS_ARE_NOT_KEPT = auto()


@dataclass(slots=True)
class Row:
    """An execution with its records. Never changed: another one takes its place."""

    tenant_id: UUID
    id: UUID
    workflow_id: UUID
    version: int
    trigger_id: UUID | None
    trigger_type: str
    input: str
    actor: str | None
    traceparent: str
    wake_at: datetime | None
    status: str = "pending"
    epoch: int = 0
    worker: UUID | None = None
    output: str | None = None
    error: str | None = None
    total: int = 0
    executed: int = 0
    failed: int = 0
    skipped: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    control: str | None = None
    original_id: UUID | None = None
    parent_id: UUID | None = None
    parent_position: int | None = None
    parent_iteration: int | None = None
    attempts: dict[Place, dict[str, Any]] = field(default_factory=dict[Place, dict[str, Any]])

    @property
    def ended(self) -> bool:
        return self.status in _ENDED


class Watch(Protocol):
    """Told of everything that becomes true."""

    def appeared(self, row: Row) -> None: ...

    def moved(self, before: Row, after: Row) -> None: ...

    def recorded(self, row: Row, before: dict[str, Any] | None, after: dict[str, Any]) -> None: ...


class Tables(Store):
    """The rows. What is read here outside of a statement is what is committed."""

    def __init__(self, now: Callable[[], datetime], watch: Watch | None = None, flaw: Flaw | None = None) -> None:
        super().__init__()
        self.now, self.watch, self.flaw = now, watch, flaw
        self.misjudges: Callable[[], bool] = lambda: False
        """Whether the living are taken for dead, this time."""
        self.executions: dict[UUID, Row] = self._table("executions")
        self.workers: dict[UUID, datetime] = self._table("workers")
        self.versions: dict[VersionKey, str] = {}
        self.workflows: dict[tuple[UUID, UUID], dict[str, Any]] = {}
        """Name and version of each workflow (tenant, workflow)."""
        self.signals: dict[tuple[Any, ...], dict[str, Any]] = self._table("signals")
        self.event_waits: dict[tuple[Any, ...], dict[str, Any]] = self._table("event_waits")
        self.approvals: dict[UUID, dict[str, Any]] = self._table("approvals")
        self.slots: dict[tuple[UUID, UUID], dict[str, Any]] = self._table("slots")
        self.events: dict[UUID, dict[str, Any]] = self._table("events")
        self.event_ids: dict[tuple[UUID, str], dict[str, Any]] = self._table("event_ids")
        self.collections: dict[tuple[UUID, str], datetime] = self._table("collections")
        self.records: dict[UUID, dict[str, Any]] = self._table("records")
        self.local_results: dict[tuple[Any, ...], str] = self._table("local_results")

    def _table(self, name: str) -> dict[Any, Any]:
        return self.tables.setdefault(name, {})

    # For statements

    def put(self, before: Row, **now: Any) -> dict[str, Any]:
        """The execution changes; returns it as a record."""
        self.lock("executions", before.id)
        before = self.executions[before.id]
        after = replace(before, **now)
        assert (after.finished_at is not None) == after.ended, f"finished_iff_terminal: {after}"
        assert (after.wake_at is not None) == (after.status in PARKED), f"woken_iff_parked: {after}"
        assert (after.worker is not None) == (after.status == "running"), f"owned_iff_running: {after}"
        self.write("executions", before.id, after)
        if (watch := self.watch) is not None:
            self.tell(before.id, lambda: watch.moved(before, self.executions[before.id]))
        return record_of(after)

    def add(self, new: Row) -> None:
        """An execution is there."""
        self.write("executions", new.id, new)
        if (watch := self.watch) is not None:
            self.tell(("new", new.id), lambda: watch.appeared(new))

    def record(self, id_: UUID, place: Place, **values: Any) -> None:
        """An attempt of the execution, which is locked, changes or is there now."""
        row = self.executions[id_]
        before = row.attempts.get(place)
        after = {**(before or {}), **values}
        self.write("executions", id_, replace(row, attempts={**row.attempts, place: after}))
        if (watch := self.watch) is not None:
            told = self.executions
            self.tell((id_, place), lambda: watch.recorded(told[id_], before, told[id_].attempts[place]))

    def find(self, tenant_id: UUID, ids: Sequence[UUID], *statuses: str) -> list[Row]:
        """Those of the tenant's executions that have one of these statuses."""
        found = (self.executions.get(one) for one in ids)
        return [row for row in found if row is not None and row.tenant_id == tenant_id and row.status in statuses]

    def pairs(self, tenants: Sequence[UUID], ids: Sequence[UUID]) -> list[Row]:
        """The executions of these tenants, in this order, as far as they are there."""
        found = zip(tenants, (self.executions.get(one) for one in ids), strict=True)
        return [row for tenant, row in found if row is not None and row.tenant_id == tenant]


def named(module: Any, **statements: Statement) -> dict[str, Statement]:
    """Statement text → what it does, by the names of the constants."""
    return {vars(module)[f"_{name.upper()}"]: statement for name, statement in statements.items()}


def record_of(row: Row) -> dict[str, Any]:
    """The execution as a statement returns it."""
    return {name: getattr(row, name) for name in Row.__slots__ if name != "attempts"}
