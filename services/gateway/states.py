"""The state of an execution as clients see it: without its values, as those who follow a whole tenant are told it."""

from datetime import datetime
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

import msgspec

from libs.common.clock import id_time
from libs.common.db.live_states import StoredState
from libs.common.domain.execution import TERMINAL, ExecutionStatus

Status: TypeAlias = Literal["pending", "running", "waiting", "completed", "failed", "cancelled", "timed_out"]


class TriggerRef(msgspec.Struct, frozen=True):
    """What started an execution; `id` is null for a manual run."""

    id: UUID | None
    type: str


class ExecutionState(msgspec.Struct, frozen=True):
    """An execution without its input, output, error and actions."""

    id: UUID
    workflow_id: UUID
    version: int
    trigger: TriggerRef
    status: str
    progress: int
    total_actions: int
    executed_actions: int
    failed_actions: int
    skipped_actions: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: float | None
    wake_at: datetime | None
    paused: bool
    parent_id: UUID | None
    retry_of: UUID | None


class Counted(Protocol):
    """A row that says how far an execution is."""

    @property
    def status(self) -> str: ...
    @property
    def total(self) -> int: ...
    @property
    def executed(self) -> int: ...
    @property
    def skipped(self) -> int: ...


def state_of(row: StoredState) -> ExecutionState:
    """The row as clients see it."""
    return ExecutionState(
        id=row.id,
        workflow_id=row.workflow_id,
        version=row.version,
        trigger=TriggerRef(row.trigger_id, row.trigger_type),
        status=row.status,
        progress=progress_of(row),
        total_actions=row.total,
        executed_actions=row.executed,
        failed_actions=row.failed,
        skipped_actions=row.skipped,
        created_at=id_time(row.id),
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_ms=milliseconds(row.started_at, row.finished_at),
        wake_at=row.wake_at,
        paused=row.paused,
        parent_id=row.parent_id,
        retry_of=row.retry_of,
    )


def progress_of(row: Counted) -> int:
    """Percent of the actions that are settled; 100 only when it has completed."""
    if row.status == ExecutionStatus.COMPLETED:
        return 100
    settled = min(row.executed + row.skipped, row.total)
    share = 100 * settled // row.total if row.total else 0
    return share if row.status in TERMINAL else min(share, 99)


def milliseconds(start: datetime | None, end: datetime | None) -> float | None:
    """From start to end; None while one of them is not known."""
    return None if start is None or end is None else round((end - start).total_seconds() * 1000, 3)
