"""What the journal writes in one transaction: the changes of executions, and all that has to be true with them.

Most changes are one statement and nothing else. Some bring more, which is done for those changes that still counted:
local actions, what others must be told of an end, the slot that an end gives back, what runs because of a failure.
"""

from collections.abc import Sequence
from itertools import islice
from uuid import UUID

import msgspec

from libs.common.db.children import Child, Started, start_children
from libs.common.db.controlling import settle_interrupted
from libs.common.db.ended import settle_ends
from libs.common.db.events import raise_events
from libs.common.db.executions import ExecutionChange, SettledAction, change_executions, settle_actions
from libs.common.db.local_work import LocalAction, LocalWork, perform_local_actions
from libs.common.db.pool import Connection
from libs.common.db.signals import Place as Listening
from libs.common.db.signals import wake_signalled
from libs.common.db.slots import Place, leave
from libs.common.domain.events import NewEvent
from libs.common.domain.execution import ActionStatus
from libs.common.domain.turns import Outcome


class More(msgspec.Struct, frozen=True):
    """What a change brings beside itself.

    `local`: actions that begin. `listening`: where the execution, which is parked, waits to be told something.
    `queued`: it is parked because it queues for a slot. `has_ended`: others may have to know of its end;
    `before_its_time`: what it waited for is of no use any more. `on_failure`: what runs because it has failed. `event`:
    its end, where somebody listens.
    """

    local: Sequence[LocalAction] = ()
    listening: Sequence[Listening] = ()
    queued: bool = False
    has_ended: bool = False
    before_its_time: bool = False
    on_failure: Child | None = None
    event: NewEvent | None = None


NOTHING_MORE = More()


class Entry(msgspec.Struct, frozen=True):
    """One execution's change with all that it brings."""

    change: ExecutionChange
    more: More = NOTHING_MORE

    @property
    def place(self) -> Place:
        """Whose it is."""
        return Place(self.change.tenant_id, self.change.id)


class Written(msgspec.Struct, frozen=True):
    """A change that counted. `outcomes`: of its local actions."""

    outcomes: Sequence[Outcome] = ()


class Flush(msgspec.Struct, frozen=True):
    """What came of a flush: for each entry in its order `Written`, or None where it did not count any more; and the
    executions that it made, to be announced after the commit.
    """

    written: Sequence[Written | None]
    started: Sequence[Started] = ()


_WRITTEN = Written()


async def write_entries(connection: Connection, worker: UUID, entries: Sequence[Entry]) -> Flush:
    """Make the entries true, in one transaction."""
    if all(entry.more is NOTHING_MORE for entry in entries):
        ids = await change_executions(connection, worker, [entry.change for entry in entries])
        return Flush([_WRITTEN if entry.change.id in ids else None for entry in entries])
    async with connection.transaction():
        ids = await change_executions(connection, worker, [entry.change for entry in entries])
        counted = [entry for entry in entries if entry.change.id in ids]
        work = await _perform_local(connection, counted)
        started = [
            *work.started, *await _start_on_failure(connection, counted), *await _raise_ends(connection, counted)
        ]  # fmt: skip
        await wake_signalled(connection, [place for entry in counted for place in entry.more.listening])
        await _settle_ends(connection, counted)
    outcomes = iter(work.outcomes)
    return Flush(
        [
            Written(list(islice(outcomes, len(entry.more.local)))) if entry.change.id in ids else None
            for entry in entries
        ],
        started,
    )


async def _perform_local(connection: Connection, entries: Sequence[Entry]) -> LocalWork:
    actions = [action for entry in entries for action in entry.more.local]
    if not actions:
        return LocalWork([], [])
    work = await perform_local_actions(connection, actions)
    outcomes = zip(actions, work.outcomes, strict=True)
    await settle_actions(connection, [_settled(*one) for one in outcomes if one[1].failure is None])
    return work


def _settled(action: LocalAction, outcome: Outcome) -> SettledAction:
    # What failed stays begun: it changed nothing, and what follows from it is the run's to say.
    write, waits = action.write, outcome.state is not None
    return SettledAction(
        write.tenant_id, write.execution_id, action.position, action.iteration, action.attempt,
        ActionStatus.WAITING if waits else ActionStatus.COMPLETED, _json(outcome.output), _json(outcome.state),
        None if waits else write.now, outcome.wake_at,
    )  # fmt: skip


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


async def _start_on_failure(connection: Connection, entries: Sequence[Entry]) -> list[Started]:
    children = [entry.more.on_failure for entry in entries if entry.more.on_failure is not None]
    return [one for one in await start_children(connection, children) if isinstance(one, Started)]


async def _raise_ends(connection: Connection, entries: Sequence[Entry]) -> list[Started]:
    events = [entry.more.event for entry in entries if entry.more.event is not None]
    raised = await raise_events(connection, events) if events else []
    rows = [started.row for event in raised for started in event.started]
    return [Started(row.tenant_id, row.id, row.workflow_id, row.version, row.traceparent) for row in rows]


async def _settle_ends(connection: Connection, entries: Sequence[Entry]) -> None:
    early = [entry.place for entry in entries if entry.more.before_its_time]
    others = [entry.place for entry in entries if entry.more.has_ended and not entry.more.before_its_time]
    await settle_ends(connection, others)
    ended = [*others, *early, *await settle_interrupted(connection, early)]
    queued = [entry.place for entry in entries if entry.more.queued]
    if ended or queued:
        await leave(connection, ended, queued)
