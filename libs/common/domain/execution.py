"""Executions and action executions: their statuses, which status may follow which, and what stands in a record.

The tables here are the rule; the database enforces the same by constraint.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class ExecutionStatus(StrEnum):
    """Where an execution is."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class ActionStatus(StrEnum):
    """Where one attempt of an action is."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    WAITING = "waiting"
    UNKNOWN = "unknown"


TERMINAL = frozenset(
    {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT}
)

NEXT_STATUSES: Mapping[ExecutionStatus, frozenset[ExecutionStatus]] = {
    ExecutionStatus.PENDING: TERMINAL | {ExecutionStatus.RUNNING, ExecutionStatus.WAITING},
    ExecutionStatus.RUNNING: TERMINAL | {ExecutionStatus.PENDING, ExecutionStatus.WAITING},
    ExecutionStatus.WAITING: frozenset({ExecutionStatus.PENDING, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT}),
    ExecutionStatus.COMPLETED: frozenset(),
    ExecutionStatus.FAILED: frozenset(),
    ExecutionStatus.CANCELLED: frozenset(),
    ExecutionStatus.TIMED_OUT: frozenset(),
}


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an action or execution failed. `error_class` is what retry rules name; `expression` the template that
    failed.
    """

    error_class: str = msgspec.field(name="class")
    message: str
    action: str | None = None
    expression: str | None = None
    http_status: int | None = None
    retry_after_seconds: float | None = None


class AttemptRecord(msgspec.Struct, frozen=True):
    """One attempt of one action: what will be, or is, its row. Key: position, iteration, attempt.

    `state` is what the machine needs to go on from the record, and nobody else.
    """

    position: int
    attempt: int
    key: str
    type: str
    status: ActionStatus
    started_at: datetime
    iteration: int = 0
    input: Any = None
    output: Any = None
    error: Failure | None = None
    finished_at: datetime | None = None
    wake_at: datetime | None = None
    state: Any = None
