"""Local actions of all kinds, done in the journal's transaction.

Writes to the tenant's data are `local_writes`; what moves executions stands here: a sub-workflow is started, a wait
begins, an event is raised. What these make has an id or a place of its own, so that making it again, when the journal
tries its transaction again, is nothing.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from libs.common.clock import new_id
from libs.common.db.approvals import NewApproval, ask_approvals
from libs.common.db.children import Child, Started, leave_children, start_children
from libs.common.db.event_waits import EventWait, add_event_waits
from libs.common.db.events import RaisedEvent, raise_events
from libs.common.db.local_writes import LocalWrite, perform_local_writes
from libs.common.db.pool import Connection
from libs.common.db.signals import Place, clear_signals
from libs.common.domain.action_config import read_config
from libs.common.domain.configs.flow import EmitEventConfig, RunWorkflowConfig, WaitConfig
from libs.common.domain.event_names import NAME as EVENT_NAME
from libs.common.domain.events import MAX_DATA_BYTES, NewEvent
from libs.common.domain.execution import Failure
from libs.common.domain.flow import latest_end
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.record_events import record_events
from libs.common.domain.turns import Outcome

_LAST_MOMENT = timedelta(seconds=1)
_MAX_TEXT = 10_000
_encode = msgspec.json.encode


class LocalAction(msgspec.Struct, frozen=True):
    """A local action that begins now, at its place in a run. `id`: of what it makes; `chain`: the workflows that led to
    the run, its own included; `context`: as the run gave it; `asks`: it is about an attempt in doubt.
    """

    write: LocalWrite
    id: UUID
    position: int
    iteration: int
    attempt: int
    chain: tuple[UUID, ...]
    traceparent: str
    context: Any = None
    asks: bool = False

    @property
    def place(self) -> Place:
        """Where it waits, if it does."""
        return Place(self.write.tenant_id, self.write.execution_id, self.position, self.iteration)


class LocalWork(msgspec.Struct, frozen=True):
    """What came of local actions, in their order, and the executions that they made, to be announced."""

    outcomes: list[Outcome]
    started: list[Started]


class _Wanted(msgspec.Struct, frozen=True):
    """An action whose config can be read. `until`: how long it may wait."""

    number: int
    action: LocalAction
    config: Any
    until: datetime | None


async def perform_local_actions(connection: Connection, actions: Sequence[LocalAction]) -> LocalWork:
    """Do them. What an earlier attempt at the same place was told, or still waits for, is forgotten first."""
    again = [action.place for action in actions if action.attempt > 1]
    await clear_signals(connection, again)
    await leave_children(connection, again)
    work = _Work(connection)
    await work.write_data([(number, one) for number, one in enumerate(actions) if one.write.type not in _KINDS])
    for name, (shape, carry_out) in _KINDS.items():
        mine = [(number, one) for number, one in enumerate(actions) if one.write.type == name]
        if mine and (wanted := work.read(mine, shape)):
            await carry_out(work, wanted)
    return LocalWork([work.outcomes[number] for number in range(len(actions))], work.started)


class _Work:
    """What has come of the actions so far."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.outcomes: dict[int, Outcome] = {}
        self.started: list[Started] = []

    def read(self, actions: Sequence[tuple[int, LocalAction]], shape: type[msgspec.Struct]) -> list[_Wanted]:
        """The actions that can be done; the others have failed."""
        wanted: list[_Wanted] = []
        for number, action in actions:
            try:
                config = read_config(action.write.config, shape)
                until = latest_end(getattr(config, "timeout_seconds", None), action.write.now)
            except ActionFailed as error:
                self.outcomes[number] = Outcome(failure=error.failure)
            else:
                wanted.append(_Wanted(number, action, config, until))
        return wanted

    async def write_data(self, actions: Sequence[tuple[int, LocalAction]]) -> None:
        """What is about the tenant's data."""
        if actions:
            results = await perform_local_writes(self.connection, [action.write for _, action in actions])
            for (number, _), result in zip(actions, results, strict=True):
                self.outcomes[number] = Outcome(result.output, result.failure)
            changes = zip((action for _, action in actions), results, strict=True)
            await self.raise_([
                event
                for action, result in changes if result.change is not None
                for event in record_events(
                    result.change, new_id, chain=action.chain, execution_id=action.write.execution_id,
                    actor=action.write.actor, traceparent=action.traceparent,
                )
            ])  # fmt: skip

    async def raise_(self, events: Sequence[NewEvent]) -> list[RaisedEvent]:
        """Raise the events, and have what they start announced."""
        raised = await raise_events(self.connection, events) if events else []
        rows = [started.row for event in raised for started in event.started]
        self.started += [Started(row.tenant_id, row.id, row.workflow_id, row.version, row.traceparent) for row in rows]
        return raised


_CarryOut: TypeAlias = Callable[[_Work, Sequence[_Wanted]], Awaitable[None]]


async def _run_workflows(work: _Work, wanted: Sequence[_Wanted]) -> None:
    made = await start_children(work.connection, [_child(one.action, one.config) for one in wanted])
    for one, child in zip(wanted, made, strict=True):
        if isinstance(child, Failure):
            work.outcomes[one.number] = Outcome(failure=child)
            continue
        work.started.append(child)
        told = {"execution_id": str(child.id)}
        work.outcomes[one.number] = (
            Outcome(state={"for": "execution", **told}, wake_at=_given_up(one.until))
            if one.config.wait
            else Outcome({**told, "status": "pending", "output": None})
        )


def _child(action: LocalAction, config: RunWorkflowConfig) -> Child:
    write, waits = action.write, config.wait
    return Child(
        write.tenant_id, action.id, config.workflow, config.input, action.chain, "workflow", write.actor,
        action.traceparent, write.execution_id, action.position if waits else None, action.iteration if waits else None,
    )  # fmt: skip


async def _wait(work: _Work, wanted: Sequence[_Wanted]) -> None:
    await add_event_waits(work.connection, [_event_wait(one) for one in wanted if one.config.event is not None])
    await ask_approvals(work.connection, [_approval(one) for one in wanted if one.config.approval is not None])
    for one in wanted:
        work.outcomes[one.number] = Outcome(state=_state(one), wake_at=_given_up(one.until))


async def _emit(work: _Work, wanted: Sequence[_Wanted]) -> None:
    events: dict[int, NewEvent] = {}
    for one in wanted:
        event = _event(one.action, one.config)
        if isinstance(event, Failure):
            work.outcomes[one.number] = Outcome(failure=event)
        else:
            events[one.number] = event
    raised = await work.raise_(list(events.values()))
    for number, event in zip(events, raised, strict=True):
        told = {"event_id": str(event.id), "execution_ids": [str(one) for one in event.execution_ids]}
        work.outcomes[number] = Outcome(told)


def _event(action: LocalAction, config: EmitEventConfig) -> NewEvent | Failure:
    if re.fullmatch(EVENT_NAME, config.event) is None:
        return Failure("invalid_config", "event is not a name such as deal.won")
    data, write = _text_of(config.data), action.write
    if len(data) > MAX_DATA_BYTES:
        return Failure("invalid_config", f"data is larger than {MAX_DATA_BYTES // 1024} KiB")
    return NewEvent(
        write.tenant_id, action.id, config.event, data, "action", action.chain,
        f"action:{write.execution_id}:{action.position}:{action.iteration}",
        write.execution_id, write.actor, action.traceparent,
    )  # fmt: skip


def _given_up(until: datetime | None) -> datetime | None:
    """When a wait is in vain: what was said in the last moment has reached the database by then."""
    return None if until is None else until + _LAST_MOMENT


def _state(one: _Wanted) -> dict[str, Any]:
    if one.config.event is not None:
        return {"for": "event"}
    asked = {"approval_id": str(one.action.id)}
    if one.action.asks:
        return {"for": "doubt", **asked}
    return {"for": "approval", **asked, "on_reject": one.config.approval.on_reject}


def _event_wait(one: _Wanted) -> EventWait:
    place, context = one.action.place, one.action.context
    match, scope = (None, "{}") if context is None else (_text_of(context["match"]), _text_of(context["scope"]))
    return EventWait(
        place.tenant_id, place.execution_id, place.position, place.iteration, one.config.event, match, scope
    )


def _approval(one: _Wanted) -> NewApproval:
    action, asked = one.action, one.config.approval
    return NewApproval(
        action.write.tenant_id, action.id, action.write.execution_id, action.position, action.iteration,
        _text(asked.title), _text(asked.message), one.until,
    )  # fmt: skip


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else _text_of(value)
    return text.replace("\0", "\ufffd")[:_MAX_TEXT]


def _text_of(value: Any) -> str:
    return _encode(value).decode()


_KINDS: Mapping[str, tuple[type[msgspec.Struct], _CarryOut]] = {
    "run_workflow": (RunWorkflowConfig, _run_workflows),
    "wait": (WaitConfig, _wait),
    "emit_event": (EmitEventConfig, _emit),
}
