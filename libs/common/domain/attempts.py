"""The attempts of one run: what is on record of earlier, and what has to be recorded now.

Whatever is recorded is remembered as if it had been read, so that the run looks at one thing only.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from libs.common.domain.execution import ActionStatus, AttemptRecord, Failure
from libs.common.domain.frames import MAX_ITEMS, Place
from libs.common.domain.masking import mask_config
from libs.common.domain.planner import Program, Step
from libs.common.domain.turns import PastAttempt

IN_DOUBT = Failure("unknown", "the executor stopped during this attempt; whether it took effect is not known")

_NONE: Sequence[PastAttempt] = ()


class Attempts:
    """Reads what happened, writes what happens."""

    def __init__(self) -> None:
        self._past: dict[Place, list[PastAttempt]] = {}
        self._records: list[AttemptRecord] = []
        self.were_remembered = False

    def remember(self, attempts: Sequence[PastAttempt]) -> None:
        """What was read from the records, in the order of the attempts."""
        for attempt in attempts:
            self.were_remembered = True
            self._past.setdefault(Place(attempt.position, attempt.iteration), []).append(attempt)

    def take_records(self) -> list[AttemptRecord]:
        """The records that are new since the last call, for the journal."""
        taken, self._records = self._records, []
        return taken

    def of(self, place: Place) -> Sequence[PastAttempt]:
        """Every attempt there was of an action."""
        return self._past.get(place, _NONE)

    def last(self, place: Place) -> int:
        """The number of the last attempt; 0 when there was none."""
        past = self.of(place)
        return past[-1].attempt if past else 0

    def in_doubt(self, place: Place) -> int:
        """How many attempts there were of which nobody knows whether they took effect."""
        return sum(1 for attempt in self.of(place) if attempt.status is ActionStatus.UNKNOWN)

    def inside(self, step: Step, outer: int | None) -> Iterator[PastAttempt]:
        """The last attempt of every action in the loop `step`, which stands in iteration `outer` of another one."""
        for place, past in self._past.items():
            here = outer is None or place.iteration // MAX_ITEMS == outer
            if step.position < place.position < step.end and here:
                yield past[-1]

    def start(
        self, step: Step, place: Place, attempt: int, config: Any, now: datetime, state: Any = None
    ) -> AttemptRecord:
        """An attempt begins."""
        record = _record(step, place, attempt, ActionStatus.STARTED, now, input=mask_config(config), state=state)
        self._add(record)
        return record

    def append(
        self, step: Step, place: Place, attempt: int, status: ActionStatus, started_at: datetime,
        finished_at: datetime | None, config: Any = None, output: Any = None, *, failure: Failure | None = None,
        wake_at: datetime | None = None, state: Any = None,
    ) -> None:  # fmt: skip
        """An attempt that is over at once, or that waits."""
        record = AttemptRecord(
            place.position, attempt, step.action.key, step.action.type, status, started_at, place.iteration, config,
            output, failure, finished_at, wake_at, state,
        )  # fmt: skip
        if finished_at is None or self.were_remembered:
            self._add(record)
        else:  # nobody comes back to it, and remembering costs
            self._records.append(record)

    def finish(
        self, started: AttemptRecord, status: ActionStatus, now: datetime, *, output: Any = None,
        failure: Failure | None = None, wake_at: datetime | None = None,
    ) -> None:  # fmt: skip
        """The attempt that `start` gave has ended."""
        self._add(
            AttemptRecord(
                started.position, started.attempt, started.key, started.type, status, started.started_at,
                started.iteration, started.input, output, failure, now, wake_at, started.state,
            )
        )  # fmt: skip

    def close(
        self, step: Step, place: Place, status: ActionStatus, now: datetime, *, output: Any = None,
        failure: Failure | None = None, wake_at: datetime | None = None,
    ) -> None:  # fmt: skip
        """The last attempt of an action, begun now or read from the records, has ended."""
        last = self.of(place)[-1]
        self._add(
            _record(
                step, place, last.attempt, status, last.started_at, output=output, error=failure, finished_at=now,
                wake_at=wake_at, state=last.state,
            )
        )  # fmt: skip

    def doubt(self, step: Step, place: Place, last: PastAttempt, now: datetime) -> None:
        """The attempt was started and nothing tells how it ended: that is what its record says from now on."""
        self._add(
            _record(
                step, place, last.attempt, ActionStatus.UNKNOWN, last.started_at, error=IN_DOUBT, finished_at=now
            )
        )  # fmt: skip

    def finals(self) -> Iterator[PastAttempt]:
        """The last attempt of every action."""
        return (past[-1] for past in self._past.values())

    def waiting(self) -> Iterator[Place]:
        """Where actions wait, by their records."""
        return (place for place, past in self._past.items() if past[-1].status is ActionStatus.WAITING)

    def close_all(self, program: Program, now: datetime) -> None:
        """Nothing goes on: attempts that were started are in doubt, what was delayed or repeated for items is
        cancelled.
        """
        for place, past in list(self._past.items()):
            step, last = program.steps[place.position], past[-1]
            if last.status is ActionStatus.STARTED and not step.steers:
                self.doubt(step, place, last, now)
            elif last.status in (ActionStatus.STARTED, ActionStatus.WAITING):
                self.close(step, place, ActionStatus.CANCELLED, now)

    def _add(self, record: AttemptRecord) -> None:
        self._records.append(record)
        past = self._past.setdefault(Place(record.position, record.iteration), [])
        entry = PastAttempt(
            record.position, record.attempt, record.status, record.started_at, record.output, record.error,
            record.wake_at, record.iteration, record.state,
        )  # fmt: skip
        if past and past[-1].attempt == record.attempt:
            past[-1] = entry
        else:
            past.append(entry)


def _record(
    step: Step, place: Place, attempt: int, status: ActionStatus, started_at: datetime, **more: Any
) -> AttemptRecord:
    return AttemptRecord(
        place.position, attempt, step.action.key, step.action.type, status, started_at, place.iteration, **more
    )
