"""The events that ends of executions raise: `execution.completed`, `execution.failed`, `execution.cancelled` and
`execution.timed_out`.

They are raised only where somebody listens, and only by name (`execution.*` at the widest): `*` does not fit them, or
every workflow that listens to everything would run once more for each run of any other. What keeps them from going
round stands in `events`: an end starts no workflow that led to it, its own included, and after `MAX_ENDS` ends that
led to one another it starts nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from libs.common.domain.event_names import ENDS
from libs.common.domain.events import ENDS_FIELD, NewEvent
from libs.common.domain.faults import is_object

MAX_OUTPUT_BYTES = 16_384
MAX_MESSAGE = 2_000


class EndedRun(msgspec.Struct, frozen=True):
    """An execution that has ended. `data`: what its trigger brought; `output` and `error`: JSON texts as they are
    stored; `chain`: the workflows that led to it, its own at the end.
    """

    tenant_id: UUID
    id: UUID
    workflow_id: UUID
    workflow_name: str
    version: int
    status: str
    trigger_type: str
    data: Any
    output: str | None
    error: str | None
    started_at: datetime | None
    finished_at: datetime
    chain: tuple[UUID, ...]
    actor: str | None
    traceparent: str


def end_event(run: EndedRun, event_id: UUID) -> NewEvent:
    """What its end raises."""
    return NewEvent(
        run.tenant_id, event_id, f"{ENDS}{run.status}", msgspec.json.encode(_data(run)).decode(), "execution",
        run.chain, None, run.id, run.actor, run.traceparent,
    )  # fmt: skip


def _data(run: EndedRun) -> dict[str, Any]:
    seconds = None if run.started_at is None else max(0.0, (run.finished_at - run.started_at).total_seconds())
    return {
        "execution_id": run.id,
        "workflow_id": run.workflow_id,
        "workflow_name": run.workflow_name,
        "workflow_version": run.version,
        "status": run.status,
        "trigger": run.trigger_type,
        "duration_seconds": seconds,
        **_output(run.output),
        "error": None if run.error is None else _summary(msgspec.json.decode(run.error)),
        ENDS_FIELD: _ends_before(run) + 1,
    }


def _output(output: str | None) -> dict[str, Any]:
    size = 0 if output is None else len(output.encode())
    if output is None or size > MAX_OUTPUT_BYTES:
        return {"output": None, **({"output_bytes": size} if size else {})}
    return {"output": msgspec.Raw(output.encode())}


def _summary(error: Mapping[str, Any]) -> dict[str, Any]:
    short = {name: error.get(name) for name in ("class", "message", "action") if error.get(name) is not None}
    return {name: value[:MAX_MESSAGE] if isinstance(value, str) else value for name, value in short.items()}


def _ends_before(run: EndedRun) -> int:
    """How many ends led to this run, one by the other."""
    data = run.data
    if run.trigger_type != "event" or not is_object(data) or not str(data.get("type")).startswith(ENDS):
        return 0
    before: object = data["data"].get(ENDS_FIELD) if is_object(data.get("data")) else 0
    return before if isinstance(before, int) else 0
