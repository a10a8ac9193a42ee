"""The engine: drives runs from what the pure machine says to what the world and the journal need.

    start ─▶ advance ─▶ journal (one flush for the whole batch) ─┬▶ end, long wait: done here
                                                                └▶ effects, short wait: a task goes on alone:
                                                  start effects ─▶ one ends, or its time comes ─▶ advance ─▶ journal …

Before an effect starts, its claim, everything before it and its own attempt are durable (rule 4). A journal that
answers "not yours" ends the run here at once; whoever has it continues from the records. An answer that comes late
(the network lost it, this machine stood still) says nothing of who has it now: unless the lease covers all the time
since, the database is asked, right before the effect goes out.
"""

import asyncio
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import structlog

from libs.common.bus.messages import Ready
from libs.common.clock import Clock
from libs.common.db.signals import Place, Signal
from libs.common.domain.execution import ExecutionStatus, Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.turns import Effect, End, Turn
from libs.common.telemetry import metrics
from services.executor.actions.base import Attempt, Effects
from services.executor.admission import Admission
from services.executor.held import Control, Ended, Held, parks
from services.executor.journal import Journal
from services.executor.leases import Lease, elapsed
from services.executor.mailbox import Mailbox
from services.executor.traced import place_of_attempt, tell_stretch

MAX_OUTPUT_BYTES = 8_388_608
"""Of one action, as JSON."""
MAX_RUN_BYTES = 67_108_864
"""Of all outputs of one run, as JSON: whoever takes it up has to hold them."""

_PAUSED = Turn()
_TOO_LARGE = Failure("run_too_large", f"its actions gave more than {MAX_RUN_BYTES} bytes")

_log = structlog.get_logger(__name__)


class Engine:
    """Runs executions that its caller has built, and knows which are under way."""

    def __init__(
        self, journal: Journal, lease: Lease, admission: Admission, mailbox: Mailbox, effects: Effects, clock: Clock,
        slots: int,
    ) -> None:  # fmt: skip
        """`slots`: how many executions may be under way at once."""
        self._journal, self._lease, self._admission, self._mailbox = journal, lease, admission, mailbox
        self._effects, self._clock, self._slots = effects, clock, slots
        self._held: dict[UUID, Held] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._reserved: set[UUID] = set()
        self._refuses = False
        self._room, self._bulk_room = asyncio.Event(), asyncio.Event()
        self._note_load()
        metrics.set_slots(slots)

    async def wait_for_room(self, *, bulk: bool = False) -> bool:
        """Returns when another batch may start; False when none may any more. Bulk leaves a quarter to the others."""
        await (self._bulk_room if bulk else self._room).wait()
        return not self._refuses

    def refuse_more(self) -> None:
        """Begin nothing more; whoever waits for room is told so."""
        self._refuses = True
        self._note_load()

    @contextmanager
    def reserved(self, ids: Iterable[UUID]) -> Generator[Collection[UUID]]:
        """Those of the executions that nobody has in hand here: the caller has, within the block.

        The database takes a second claim of the same worker for the repetition of the first one, whose answer was
        lost, so that copies of a message have to be told apart here.
        """
        mine = {execution_id for execution_id in ids if execution_id not in self._tasks} - self._reserved
        self._reserved |= mine
        try:
            yield mine
        finally:
            self._reserved -= mine

    async def let_park(self, items: Iterable[Ready]) -> None:
        """Returns when those of the executions have left that were parked here and are woken already: what makes them
        due may be faster than the task that has parked them.
        """
        # A message under the epoch that we hold stands for a park of ours; older ones are copies, later ones another's.
        held = [(item, self._held.get(item.execution_id)) for item in items]
        parked = [item.execution_id for item, one in held if one is not None and item.epoch == one.epoch]
        if parked:
            await asyncio.wait([self._tasks[key] for key in parked])

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._tasks

    def control(self, execution_id: UUID, wish: Control) -> None:
        """Somebody wants the execution cancelled or paused. Cancelling interrupts its effects."""
        held = self._held.get(execution_id)
        if held is not None and held.wish is not wish:
            held.wish = wish
            held.bell.set()
            if wish is Control.CANCEL:
                for task in held.effects:
                    task.cancel()

    async def drop_lost(self) -> None:
        """End here what others have taken, and interrupt its effects: what is not delivered of them is not to be."""
        before = dict(self._held)
        for execution_id in await self._journal.lost(before.values()) if before else ():
            held = before[execution_id]
            if self._held.get(execution_id) is held:
                _note_lost(held, self._clock.now())
                self._tasks[execution_id].cancel()

    def listening(self) -> list[tuple[UUID, UUID]]:
        """The executions (tenant, execution) under way in which something waits to be told."""
        return [(held.tenant_id, key) for key, held in self._held.items() if held.has_ties and held.run.listening()]

    def tell(self, signal: Signal) -> None:
        """Somebody tells an action of an execution what it waits for."""
        if (held := self._held.get(signal.execution_id)) is not None:
            held.told.append(signal)
            held.bell.set()

    async def start(self, batch: Sequence[Held]) -> None:
        """Take the executions and run them; returns when each is durably taken, ended or known to be another's."""
        now, asked = await self._hear_out([held for held in batch if held.has_ties]), elapsed()
        items = [(held, self._next_turn(held, now)) for held in batch if not _asks(held, now)]
        if asking := [held for held in batch if _asks(held, now)]:
            admitted, then = await self._admission.admit(asking, now), self._clock.now()
            items += [(held, turn or self._next_turn(held, then)) for held, turn in admitted]
        written = await self._journal.record_all(items, now)
        taken = len(items) - written.count(None)
        metrics.count_claims(taken, len(batch) - taken)
        for (held, turn), what in zip(items, written, strict=True):
            if what is None:
                continue
            held.settle_local(turn, what, self._clock.now())
            if turn.end is None and not parks(held, turn, now):
                self._spawn(held, turn, asked)
            else:
                _log_end(held, turn.end)
                tell_stretch(held, self._clock.now(), turn.end)

    async def drain(self, seconds: float) -> int:
        """Wait until what is under way is done, for so long at most; then let go of the rest. Returns how many were
        let go.
        """
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=seconds)
        left = list(self._tasks.values())
        for task in left:
            task.cancel()
        for held in self._held.values():
            tell_stretch(held, self._clock.now(), error="handed_back")
        await asyncio.gather(*left, return_exceptions=True)
        return len(left)

    def _spawn(self, held: Held, turn: Turn, asked: float) -> None:
        task = asyncio.get_running_loop().create_task(self._drive(held, turn, asked))
        self._held[held.execution_id], self._tasks[held.execution_id] = held, task
        task.add_done_callback(lambda _: self._leave(held.execution_id))
        self._note_load()

    def _leave(self, execution_id: UUID) -> None:
        self._held.pop(execution_id, None)
        self._tasks.pop(execution_id, None)
        self._note_load()

    def _note_load(self) -> None:
        metrics.set_running(len(self._tasks))
        for room, slots in ((self._room, self._slots), (self._bulk_room, max(1, self._slots * 3 // 4))):
            if self._refuses or len(self._tasks) < slots:
                room.set()
            else:
                room.clear()

    async def _drive(self, held: Held, turn: Turn, asked: float) -> None:
        """From a recorded turn to the end, or to where the executor may let go. `asked`: since when the journal had
        been asked to record it.
        """
        try:
            while True:
                if turn.effects and not await self._is_still_ours(held, asked):
                    _note_lost(held, self._clock.now())
                    return
                if held.wish is not Control.CANCEL:  # heard while the turn was written: nothing of it is to begin
                    self._begin(held, turn, asked)
                if not turn.local:
                    await self._wait(held, turn.wake_at)
                held.settle_ended(self._clock.now())
                now = await self._hear_out([held] if held.has_ties else [])
                held.settle_ended(now)  # what has ended meanwhile
                turn = self._next_turn(held, now)
                if turn.end is not None:
                    await held.stop_effects()
                leaves, asked = turn.end is not None or parks(held, turn, now), elapsed()
                written = await self._journal.record(held, turn, now)
                if written is None:
                    _note_lost(held, self._clock.now())
                    return
                held.settle_local(turn, written, self._clock.now())
                if leaves:
                    _log_end(held, turn.end)
                    tell_stretch(held, self._clock.now(), turn.end)
                    return
        except Exception:  # noqa: BLE001 - what a journal that breaks leaves behind must not stay running for ever
            _log.exception(
                "run let go", execution_id=held.execution_id, tenant_id=held.tenant_id, trace_id=held.trace_id
            )
            await held.stop_effects()
            tell_stretch(held, self._clock.now(), error="let_go")
            await self._journal.let_go(held)
        finally:
            await held.stop_effects()

    async def _is_still_ours(self, held: Held, asked: float) -> bool:
        """Whether an effect may begin that the journal had been asked to record at that time. Without a lease nothing
        begins: it is waited for.
        """
        while not self._lease.covers(asked):
            if not self._lease.covers(elapsed()):
                await self._lease.next_beat()
            asked = elapsed()
            if await self._journal.lost([held]):
                return False
        return True

    def _begin(self, held: Held, turn: Turn, asked: float) -> None:
        """Start the effects of a turn that is on record."""
        for effect in turn.effects:
            held.effects[asyncio.get_running_loop().create_task(self._perform(held, effect, asked))] = effect

    async def _wait(self, held: Held, wake_at: datetime | None) -> None:
        """Until an effect ends, the time has come, or somebody wants something."""
        seconds = None if wake_at is None else max(0.0, (wake_at - self._clock.now()).total_seconds())
        if held.effects and not held.has_ties:
            await asyncio.wait(held.effects, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return
        bell = asyncio.get_running_loop().create_task(held.bell.wait())
        try:
            await asyncio.wait({*held.effects, bell}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            bell.cancel()
            held.bell.clear()

    async def _perform(self, held: Held, effect: Effect, asked: float) -> Ended:
        action = effect.step.action
        attempt = Attempt(
            effect.key, action.timeout_seconds, place_of_attempt(held, effect.record), held.tenant_id, held.run.mask,
            partial(self._is_still_ours, held, asked),
        )  # fmt: skip
        try:
            async with asyncio.timeout(action.timeout_seconds):
                return _checked(await self._effects[action.type](effect.config, attempt))
        except TimeoutError:
            return None, Failure("timeout", f"no end within {action.timeout_seconds:g} seconds")
        except ActionFailed as error:
            return None, error.failure
        except Exception as error:  # noqa: BLE001 - an action's own bug must not take the run down with it
            _log.exception(
                "action broke", action_type=action.type, execution_id=held.execution_id, trace_id=held.trace_id
            )
            return None, Failure("internal", f"the action broke: {type(error).__name__}")

    async def _hear_out(self, batch: Sequence[Held]) -> datetime:
        """The time now. What has waited until then was told all that came, and nothing comes to it any more."""
        closed: set[Place] = set()
        while True:
            now = self._clock.now()
            places = [place for held in batch for place in held.in_vain(now) if place not in closed]
            if not places:
                return now
            by_id = {held.execution_id: held for held in batch}
            for signal in await self._mailbox.close(places):
                by_id[signal.execution_id].told.append(signal)
            closed.update(places)

    def _next_turn(self, held: Held, now: datetime) -> Turn:
        """What comes next by the machine, and by what somebody wants of the execution meanwhile."""
        signals, held.told = held.told, []
        if held.output_bytes > MAX_RUN_BYTES:
            held.run.broken = _TOO_LARGE
        for signal in signals:
            held.run.tell(signal.position, signal.iteration, msgspec.json.decode(signal.value))
        return _guarded(held, lambda: _controlled_turn(held, now))


def _checked(output: Any) -> Ended:
    """An output that is JSON and not too large; else why it cannot be kept."""
    try:
        size = len(msgspec.json.encode(output))
    except (TypeError, ValueError) as error:
        return None, Failure("invalid_output", f"the action gave what is not JSON: {error}")
    if size > MAX_OUTPUT_BYTES:
        return None, Failure("output_too_large", f"{size} bytes; at most {MAX_OUTPUT_BYTES} are kept")
    return output, None


def _asks(held: Held, now: datetime) -> bool:
    """Whether it needs a slot to begin. What has begun has one; what is to end at once needs none."""
    if held.key_of is None or held.wish is not None or held.run.attempts.were_remembered:
        return False
    return held.run.deadline is None or now < held.run.deadline


def _controlled_turn(held: Held, now: datetime) -> Turn:
    if held.wish is Control.CANCEL:
        return Turn(end=held.run.interrupt(ExecutionStatus.CANCELLED, None, now))
    if held.wish is Control.PAUSE:
        return _PAUSED
    return held.run.advance(now)


def _guarded(held: Held, step: Callable[[], Turn]) -> Turn:
    """A step that breaks the machine ends the run, which must not stay running for ever."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001 - whatever it was, the run has to end
        return Turn(end=End(ExecutionStatus.FAILED, failure=held.broken_by(error)))


def _note_lost(held: Held, now: datetime) -> None:
    """Somebody else has it."""
    metrics.count_claims(0, 1)
    tell_stretch(held, now, error="lost")


def _log_end(held: Held, end: End | None) -> None:
    """One line for an execution that ended; a good end only at debug, or the log would be the hot path."""
    if end is None:
        return
    write = _log.debug if end.status is ExecutionStatus.COMPLETED else _log.info
    write(
        "execution ended",
        status=end.status.value,
        tenant_id=held.tenant_id,
        execution_id=held.execution_id,
        workflow_id=held.workflow_id,
        trace_id=held.trace_id,
        error_class=end.failure.error_class if end.failure else None,
    )
