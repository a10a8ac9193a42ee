"""What becomes of a due slot: whether it runs, late or after all, waits for the run before it, or is passed over.

Pure: the state of the schedule comes in as values, one verdict a slot comes out. Every slot gets exactly one.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, cast
from uuid import UUID

import msgspec

from libs.common.domain.schedule import next_run
from libs.common.domain.trigger import SCHEDULE_TYPES, ScheduleConfig

LATE_SECONDS = 5.0
"""A slot that is taken within so long was on time."""
CATCHUP_SECONDS = 60.0
_LONGEST_WINDOW_SECONDS = 366 * 86_400.0
MOST_WAITING = 1_000
"""Firings of one schedule that wait for their turn; what comes then is passed over."""

Overlap = Literal["allow", "skip", "buffer_one", "buffer_all", "cancel_running"]
FiringOutcome = Literal["fired", "late", "caught_up", "skipped_overlap", "missed", "suppressed"]
Act = Literal["run", "replace", "wait", "pass"]


class FiringPolicy(msgspec.Struct, frozen=True):
    """What a schedule's config says of its slots, whatever its kind. Further fields are other modules' business."""

    overlap: Overlap = "allow"
    catchup: Literal["all", "last", "none"] = "all"
    catchup_seconds: float | None = None
    max_runs: int | None = None
    jitter_seconds: float = 0
    input: dict[str, Any] = {}
    pause_after_failures: int | None = None

    @property
    def window_seconds(self) -> float:
        """How late a slot may still run."""
        wanted = CATCHUP_SECONDS if self.catchup_seconds is None else self.catchup_seconds
        return min(max(wanted, LATE_SECONDS), _LONGEST_WINDOW_SECONDS)


class Schedule(msgspec.Struct, frozen=True):
    """A stored config in its two halves: when it is due, and what becomes of that."""

    config: ScheduleConfig
    policy: FiringPolicy


class Verdict(msgspec.Struct, frozen=True):
    """`act`: run, run in place of what runs (`replace`), wait for its turn (no outcome yet), or pass over."""

    act: Act
    outcome: FiringOutcome | None
    reason: str | None = None


@lru_cache(maxsize=4096)
def read_schedule(text: str) -> Schedule:
    """The stored config (JSON text). Raises `msgspec.MsgspecError` or `ValueError` when it cannot be read."""
    raw = msgspec.json.decode(text, type=dict[str, Any])
    known = {field.name for field in msgspec.structs.fields(SCHEDULE_TYPES[str(raw.get("type"))])} | {"type"}
    config = msgspec.convert({name: raw[name] for name in raw if name in known}, cast("Any", ScheduleConfig))
    return Schedule(config, msgspec.convert(raw, FiringPolicy))


def due_slots(
    config: ScheduleConfig, first: datetime | None, until: datetime
) -> Iterator[tuple[datetime, bool, datetime | None]]:
    """The slots from `first` (itself one) to `until`, each with whether a newer one is due by then, too, and the slot
    after it.
    """
    slot = first
    while slot is not None and slot <= until:
        following = next_run(config, slot)
        yield slot, following is not None and following <= until, following
        slot = following


def first_slot_from(config: ScheduleConfig, start: datetime) -> datetime | None:
    """The first slot at or after `start`."""
    return next_run(config, start - timedelta(microseconds=1))


def judge_lag(policy: FiringPolicy, lag_seconds: float, *, superseded: bool) -> tuple[FiringOutcome, str | None]:
    """The outcome by how late a slot is; `superseded`: a newer one is due as well."""
    if lag_seconds <= LATE_SECONDS:
        return "fired", None
    if lag_seconds > policy.window_seconds:
        return "missed", missed_reason(policy, lag_seconds)
    if policy.catchup == "none":
        return "missed", f"{lag_seconds:.0f} s late; the schedule does not catch up"
    if not superseded:
        return "late", None
    if policy.catchup == "last":
        return "missed", "a newer slot is due, and the schedule catches up with the last one"
    return "caught_up", None


def missed_reason(policy: FiringPolicy, lag_seconds: float) -> str:
    """Why a slot outside the window did not run."""
    return f"{lag_seconds:.0f} s late; the catch-up window is {policy.window_seconds:g} s"


class Judge:
    """Judges the slots of one schedule, one after the other; keeps count of what runs and what waits meanwhile."""

    def __init__(self, policy: FiringPolicy, *, runs: int, running: int, waiting: int, suppressed: str | None) -> None:
        """`runs`: slots that have run so far; `running`, `waiting`: of its firings now; `suppressed`: why none runs."""
        self._policy, self._running, self._waiting, self._suppressed = policy, running, waiting, suppressed
        self.runs = runs

    @property
    def exhausted(self) -> bool:
        """It has run as often as it may."""
        return self._policy.max_runs is not None and self.runs >= self._policy.max_runs

    def judge(self, lag_seconds: float, *, superseded: bool) -> Verdict:
        """What becomes of the next slot."""
        if self._suppressed is not None:
            return Verdict("pass", "suppressed", self._suppressed)
        outcome, reason = judge_lag(self._policy, lag_seconds, superseded=superseded)
        return Verdict("pass", outcome, reason) if outcome == "missed" else self.overlap(outcome, superseded=superseded)

    def overlap(self, outcome: FiringOutcome, *, superseded: bool) -> Verdict:
        """What becomes of a firing that is to have this outcome, seen what runs."""
        verdict = self._overlap(outcome, superseded=superseded)
        self.runs += verdict.act != "pass"
        self._running += verdict.act == "run"
        self._waiting += verdict.act == "wait"
        return verdict

    def _overlap(self, outcome: FiringOutcome, *, superseded: bool) -> Verdict:
        match self._policy.overlap:
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


def dispatch_delay(policy: FiringPolicy, trigger_id: UUID, slot: datetime) -> float:
    """By how many seconds a run is put off: spread over the jitter, the same for the same slot whenever asked."""
    if not policy.jitter_seconds:
        return 0.0
    named = trigger_id.bytes + slot.astimezone(UTC).isoformat().encode()
    return policy.jitter_seconds * int.from_bytes(hashlib.blake2b(named, digest_size=7).digest()) / 2**56


def run_input(policy: FiringPolicy, slot: datetime) -> bytes:
    """The input of the run for a slot: what the schedule gives, and the slot itself."""
    return msgspec.json.encode({**policy.input, "scheduled_for": slot})
