"""What a run waits for, and until when."""

from collections.abc import Iterator
from datetime import datetime

from libs.common.domain.frames import Frame, Place
from libs.common.domain.planner import Step


class Waits:
    """Actions that wait for a time, or (without one) to be told something."""

    def __init__(self) -> None:
        self._at: dict[Place, tuple[datetime | None, Frame, Step]] = {}

    def add(self, place: Place, until: datetime | None, frame: Frame, step: Step) -> None:
        """The action waits."""
        self._at[place] = (until, frame, step)

    def until(self, place: Place) -> datetime | None:
        """Until when the action there waits, if it waits for a time."""
        return self._at[place][0]

    def take(self, place: Place) -> tuple[Frame, Step] | None:
        """The action that waits there does so no more."""
        found = self._at.pop(place, None)
        return None if found is None else found[1:]

    def take_due(self, now: datetime) -> Iterator[tuple[Frame, Step]]:
        """Those whose time has come wait no more."""
        due = [place for place, (until, _, _) in self._at.items() if until is not None and until <= now]
        for place in due:
            yield self._at.pop(place)[1:]

    def take_inside(self, catch: Frame) -> Iterator[tuple[Place, Step]]:
        """Those that stand inside of a catch wait no more."""
        inside = [place for place, (_, frame, _) in self._at.items() if catch in frame.catches]
        for place in inside:
            yield place, self._at.pop(place)[2]

    def next_instant(self, deadline: datetime | None) -> datetime | None:
        """The first of their times and the deadline."""
        instants = [until for until, _, _ in self._at.values() if until is not None]
        return min(instants if deadline is None else [*instants, deadline], default=None)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._at)
