"""The engine: drives runs from what the pure machine says to what the world and the journal need.

    start ─▶ advance ─▶ journal (one flush for the whole batch) ─┬▶ End, long Wait: done here
                                                                └▶ Effect, short Wait: a task goes on alone:
                                                                     do it ─▶ advance ─▶ journal ─▶ …

Before an effect starts, its claim, everything before it and its own attempt are durable (rule 4). A journal that
answers "not yours" ends the run here at once; whoever has it continues from the records.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from libs.common.clock import Clock
from libs.common.domain.execution import ExecutionStatus, Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.run import Effect, End, Run, Wait
from libs.common.telemetry import metrics
from services.executor.actions.base import Attempt, Effects
from services.executor.journal import Held, Journal, is_short

Outcome = Effect | Wait | End

_log = structlog.get_logger(__name__)


class Engine:
    """Runs executions that its caller has built, and knows which are under way."""

    def __init__(self, journal: Journal, effects: Effects, clock: Clock, slots: int) -> None:
        """`slots`: how many executions may be under way at once."""
        self._journal, self._effects, self._clock, self._slots = journal, effects, clock, slots
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._room = asyncio.Event()
        self._room.set()

    async def wait_for_room(self) -> None:
        """Returns when another batch may start."""
        await self._room.wait()

    def is_running(self, execution_id: UUID) -> bool:
        """Whether this engine has the execution under way."""
        return execution_id in self._tasks

    async def start(self, batch: Sequence[Held]) -> None:
        """Take the executions and run them; returns when each is durably taken, ended or known to be another's."""
        now = self._clock.now()
        items = [(held, self._move(held, held.run.advance)) for held in batch]
        written = await self._journal.record_all(items, now)
        mine = [item for item, was_written in zip(items, written, strict=True) if was_written]
        metrics.count_claims(len(mine), len(items) - len(mine))
        for held, outcome in mine:
            if _goes_on(outcome, now):
                self._spawn(held, outcome)
            else:
                _log_end(held, outcome)

    async def drain(self, seconds: float) -> int:
        """Wait until what is under way is done, for so long at most; then let go of the rest. Returns how many were
        let go.
        """
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=seconds)
        left = list(self._tasks.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return len(left)

    def _spawn(self, held: Held, outcome: Outcome) -> None:
        task = asyncio.get_running_loop().create_task(self._drive(held, outcome))
        self._tasks[held.execution_id] = task
        task.add_done_callback(lambda _: self._leave(held.execution_id))
        self._note_load()

    def _leave(self, execution_id: UUID) -> None:
        self._tasks.pop(execution_id, None)
        self._note_load()

    def _note_load(self) -> None:
        metrics.set_running(len(self._tasks))
        if len(self._tasks) < self._slots:
            self._room.set()
        else:
            self._room.clear()

    async def _drive(self, held: Held, outcome: Outcome) -> None:
        goes_on = True
        while goes_on:
            outcome = await self._next(held, outcome)
            now = self._clock.now()
            goes_on = _goes_on(outcome, now)
            if not await self._journal.record(held, outcome, now):
                metrics.count_claims(0, 1)
                return
        _log_end(held, outcome)

    async def _next(self, held: Held, outcome: Outcome) -> Outcome:
        """Do what the outcome asks for and return the next one."""
        if isinstance(outcome, Effect):
            output, failure = await self._perform(held, outcome)
            return self._move(held, lambda now: _settle(held.run, outcome, output, failure, now))
        if isinstance(outcome, Wait):
            await asyncio.sleep(max(0.0, (outcome.until - self._clock.now()).total_seconds()))
        return self._move(held, held.run.advance)

    async def _perform(self, held: Held, effect: Effect) -> tuple[Any, Failure | None]:
        action = effect.step.action
        attempt = Attempt(effect.key, action.timeout_seconds, held.run.traceparent)
        try:
            async with asyncio.timeout(action.timeout_seconds):
                return await self._effects[action.type](effect.config, attempt), None
        except TimeoutError:
            return None, Failure("timeout", f"no end within {action.timeout_seconds:g} seconds")
        except ActionFailed as error:
            return None, error.failure
        except Exception as error:  # noqa: BLE001 - an action's own bug must not take the run down with it
            _log.exception("action broke", action_type=action.type, execution_id=held.execution_id)
            return None, Failure("internal", f"the action broke: {type(error).__name__}")

    def _move(self, held: Held, step: Callable[[datetime], Outcome]) -> Outcome:
        """Let the machine make a step; one that breaks it ends the run, which must not stay running for ever."""
        try:
            return step(self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever it was, the run has to end
            _log.exception("run broke", execution_id=held.execution_id, workflow_id=held.workflow_id)
            return End(ExecutionStatus.FAILED, failure=Failure("internal", f"the run broke: {type(error).__name__}"))


def _settle(run: Run, effect: Effect, output: Any, failure: Failure | None, now: datetime) -> Outcome:
    """Tell the run how its effect went and hear what comes next."""
    if failure is None:
        run.succeed(effect, output, now)
    elif (following := run.fail(effect, failure, now, random.random())) is not None:  # noqa: S311 - spreads retries, guards nothing
        return following
    return run.advance(now)


def _goes_on(outcome: Outcome, now: datetime) -> bool:
    """Whether the engine goes on with the run by itself; asked with the `now` that the journal gets, so both agree."""
    return isinstance(outcome, Effect) or (isinstance(outcome, Wait) and is_short(outcome, now))


def _log_end(held: Held, outcome: Outcome) -> None:
    """One line for an execution that ended; a good end only at debug, or the log would be the hot path."""
    if not isinstance(outcome, End):
        return
    write = _log.debug if outcome.status is ExecutionStatus.COMPLETED else _log.info
    write(
        "execution ended",
        status=outcome.status.value,
        tenant_id=held.tenant_id,
        execution_id=held.execution_id,
        workflow_id=held.workflow_id,
        trace_id=held.run.traceparent[3:35],
        error_class=outcome.failure.error_class if outcome.failure else None,
    )
