"""A report of what a tenant's automations did: numbers as a document, and the same as a text that people read."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

_TOLD_WORKFLOWS = 12
_TOLD_NAME = 60
"""So that the text fits into a notification."""


class Counts(msgspec.Struct, frozen=True):
    """Executions of a workflow; of all workflows when `workflow_id` is None. The milliseconds are from start to end, of
    those that have both.
    """

    workflow_id: UUID | None
    name: str | None
    total: int
    completed: int
    failed: int
    timed_out: int
    cancelled: int
    unfinished: int
    average_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    max_ms: float | None


def report_document(
    since: datetime, until: datetime, executions: Sequence[Counts], firings: Mapping[str, int], calls: Mapping[str, int]
) -> dict[str, Any]:
    """The output of `make_report`. The first of `executions` is about all of them."""
    everything, *workflows = executions
    return {
        "from": since,
        "to": until,
        "executions": _numbers(everything),
        "workflows": [{"id": one.workflow_id, "name": one.name, **_numbers(one)} for one in workflows],
        "firings": dict(firings),
        "webhook_calls": dict(calls),
        "text": _text(since, until, everything, workflows, firings, calls),
    }


def _numbers(counts: Counts) -> dict[str, Any]:
    return {
        "total": counts.total, "completed": counts.completed, "failed": counts.failed, "timed_out": counts.timed_out,
        "cancelled": counts.cancelled, "unfinished": counts.unfinished,
        "duration_ms": {
            "average": _rounded(counts.average_ms), "p50": _rounded(counts.p50_ms), "p95": _rounded(counts.p95_ms),
            "max": _rounded(counts.max_ms),
        },
    }  # fmt: skip


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _text(
    since: datetime, until: datetime, everything: Counts, workflows: Sequence[Counts], firings: Mapping[str, int],
    calls: Mapping[str, int],
) -> str:  # fmt: skip
    lines = [
        f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC",
        f"Executions: {_sentence(everything)}",
        f"Schedules: {_listed(firings)}",
        f"Webhook calls: {_listed(calls)}",
    ]
    lines += [
        f"- {(one.name or str(one.workflow_id))[:_TOLD_NAME]}: {_sentence(one)}" for one in workflows[:_TOLD_WORKFLOWS]
    ]
    if len(workflows) > _TOLD_WORKFLOWS:
        lines.append(f"- and {len(workflows) - _TOLD_WORKFLOWS} more")
    return "\n".join(lines)


def _sentence(counts: Counts) -> str:
    parts = [
        f"{number} {word}"
        for number, word in (
            (counts.completed, "completed"), (counts.failed, "failed"), (counts.timed_out, "timed out"),
            (counts.cancelled, "cancelled"), (counts.unfinished, "not finished"),
        ) if number
    ]  # fmt: skip
    told = f"{counts.total} ({', '.join(parts)})" if parts else "none"
    if counts.p50_ms is None or counts.p95_ms is None:
        return told
    return f"{told}, half of them within {counts.p50_ms:.0f} ms, 95 % within {counts.p95_ms:.0f} ms"


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in numbers.items()) or "none"
