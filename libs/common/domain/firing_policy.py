"""What becomes of a due slot: whether it runs, late or after all, waits for the run before it, or is passed over.

Pure: the state of the schedule comes in as values, one verdict a slot comes out. Every slot gets exactly one.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, cast

import msgspec

from libs.common.domain.schedule import next_run, slots
from libs.common.domain.schedule_config import ScheduleConfig

LATE_SECONDS = 5.0
"""A slot that is taken within so long was on time."""
CATCHUP_SECONDS = 60.0
_LONGEST_WINDOW_SECONDS = 366 * 86_400.0
MOST_WAITING = 1_000
"""Firings of one schedule that wait for their turn; what comes then is passed over."""

FiringOutcome = Literal["fired", "late", "caught_up", "skipped_overlap", "missed", "suppressed"]
Act = Literal["run", "replace", "wait", "pass"]

_INSTANT = timedelta(microseconds=1)
_decode = msgspec.json.Decoder(cast("Any", ScheduleConfig)).decode


class Verdict(msgspec.Struct, frozen=True):
    """`act`: run, run in place of what runs (`replace`), wait for its turn (no outcome yet), or pass over."""

    act: Act
    outcome: FiringOutcome | None
    reason: str | None = None


@lru_cache(maxsize=4096)
def read_schedule(text: str) -> ScheduleConfig:
    """The stored config (JSON text). Raises `msgspec.MsgspecError` when it cannot be read."""
    return _decode(text)


def window_seconds(config: ScheduleConfig) -> float:
    """How late a slot may still run."""
    wanted = CATCHUP_SECONDS if config.catchup_seconds is None else config.catchup_seconds
    return min(max(wanted, LATE_SECONDS), _LONGEST_WINDOW_SECONDS)


def due_slots(
    config: ScheduleConfig, first: datetime | None, until: datetime
) -> Iterator[tuple[datetime, datetime | None]]:
    """The slots from `first` (which was planned, so it is one) to `until`, included, each with the one after it, be
    that due or not.
    """
    if first is None:
        return
    slot, coming = first, slots(config, first)
    while slot <= until:
        following = next(coming, None)
        yield slot, None if following is None else following.instant
        if following is None:
            return
        slot = following.instant


def first_slot_from(config: ScheduleConfig, start: datetime) -> datetime | None:
    """The first slot at or after `start`."""
    return next_run(config, start - _INSTANT)


def judge_lag(config: ScheduleConfig, lag_seconds: float, *, superseded: bool) -> tuple[FiringOutcome, str | None]:
    """The outcome by how late a slot is; `superseded`: a newer one is due as well."""
    if lag_seconds <= LATE_SECONDS:
        return "fired", None
    if lag_seconds > window_seconds(config):
        return "missed", missed_reason(config, lag_seconds)
    if config.catchup == "none":
        return "missed", f"{lag_seconds:.0f} s late; the schedule does not catch up"
    if not superseded:
        return "late", None
    if config.catchup == "last":
        return "missed", "a newer slot is due, and the schedule catches up with the last one"
    return "caught_up", None


def missed_reason(config: ScheduleConfig, lag_seconds: float) -> str:
    """Why a slot outside the window did not run."""
    return f"{lag_seconds:.0f} s late; the catch-up window is {window_seconds(config):g} s"


class Judge:
    """Judges the slots of one schedule, one after the other; keeps count of what runs and what waits meanwhile."""

    def __init__(
        self, config: ScheduleConfig, *, runs: int, running: int, waiting: int, suppressed: str | None
    ) -> None:
        """`runs`: slots that have run so far; `running`, `waiting`: of its firings now; `suppressed`: why none runs."""
        self._config, self._running, self._waiting, self._suppressed = config, running, waiting, suppressed
        self.runs = runs

    @property
    def exhausted(self) -> bool:
        """It has run as often as it may."""
        return self._config.max_runs is not None and self.runs >= self._config.max_runs

    def judge(self, lag_seconds: float, *, superseded: bool) -> Verdict:
        """What becomes of the next slot."""
        if self._suppressed is not None:
            return Verdict("pass", "suppressed", self._suppressed)
        outcome, reason = judge_lag(self._config, lag_seconds, superseded=superseded)
        return Verdict("pass", outcome, reason) if outcome == "missed" else self.overlap(outcome, superseded=superseded)

    def overlap(self, outcome: FiringOutcome, *, superseded: bool) -> Verdict:
        """What becomes of a firing that is to have this outcome, seen what runs."""
        verdict = self._overlap(outcome, superseded=superseded)
        self.runs += verdict.act != "pass"
        self._running += verdict.act == "run"
        self._waiting += verdict.act == "wait"
        return verdict

    def _overlap(self, outcome: FiringOutcome, *, superseded: bool) -> Verdict:
        match self._config.overlap:
            case "skip" if self._running:
                return Verdict("pass", "skipped_overlap", "the run before it had not ended")
            case "cancel_running" if superseded:
                return Verdict("pass", "skipped_overlap", "a newer slot took its place")
            case "cancel_running":
                return Verdict("replace", outcome)
            case "buffer_one" if self._waiting:
                return Verdict("pass", "skipped_overlap", "another slot waited for the run before it")
            case "buffer_all" if self._waiting >= MOST_WAITING:
                return Verdict("pass", "skipped_overlap", f"{MOST_WAITING} slots waited already")
            case "buffer_one" | "buffer_all" if self._running or self._waiting:
                return Verdict("wait", None, "waits for the run before it to end")
            case _:
                return Verdict("run", outcome)


def run_input(config: ScheduleConfig, slot: datetime) -> bytes:
    """The input of the run for a slot: what the schedule gives, and the slot itself."""
    return msgspec.json.encode({**config.input, "scheduled_for": slot})
