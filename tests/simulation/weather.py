"""What goes wrong in a world: how often, decided by its seed, and the way of a request through it.

Every world has its own mixture, some faults frequent and others absent, because a fault that always happens hides what
only happens without it. When the storm is over nothing fails any more and everything must come to its end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, TypeVar

from libs.common.errors import Unavailable
from tests.simulation.clockwork import OUTSIDE, PROCESS, Process, VirtualLoop
from tests.simulation.store import Blocked

T = TypeVar("T")
_FAILURE_SECONDS = (0.0, 0.01, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Mixture:
    """How likely each fault is at each step where it can happen; `slow`: how likely a step takes seconds, `late` the
    same of a message.
    """

    crash: float = 0.0
    freeze: float = 0.0
    refused: float = 0.0
    lost_before: float = 0.0
    lost_answer: float = 0.0
    slow: float = 0.0
    message_lost: float = 0.0
    message_twice: float = 0.0
    message_back: float = 0.0
    late: float = 0.0
    wipe: float = 0.0
    misjudged: float = 0.0
    unstorable: float = 0.0
    is_calm: bool = True

    @classmethod
    def of(cls, chance: Random) -> "Mixture":
        """Of a world; of one in twelve nothing."""
        if chance.random() < 1 / 12:
            return CALM
        steps = [chance.choice((0.0, 0.0, 0.02, 0.05, 0.15)) for _ in range(6)]
        messages = [chance.choice((0.0, 0.0, 0.1, 0.3, 0.6)) for _ in range(4)]
        rare = [chance.choice((0.0, 0.0, 0.0, 0.1)) for _ in range(3)]
        rare[-1] *= 5  # there is seldom an effect to spoil
        return cls(*steps, *messages, *rare, is_calm=False)


CALM = Mixture()


class Weather:
    """Decides, from one generator, everything that is not decided by the product."""

    def __init__(self, loop: VirtualLoop, chance: Random, mixture: Mixture, kill: Callable[[Process], None]) -> None:
        self.loop, self.chance, self.mixture, self._kill = loop, chance, mixture, kill
        self.crashes_left, self.freezes_left = 8, 3
        self.faults: Counter[str] = Counter()

    def happens(self, fault: str) -> bool:
        """Whether this fault of the mixture happens this time."""
        likely: float = getattr(self.mixture, fault)
        if likely == 0.0 or self.chance.random() >= likely:
            return False
        self.faults[fault] += 1
        return True

    def seconds(self) -> float:
        """How long a step on the network takes."""
        if self.happens("slow"):
            return self.chance.choice((0.5, 1.0, 3.0, 12.0)) * self.chance.random()
        return self.chance.random() * 0.02

    async def may_strike(self) -> None:
        """The process that is here may be killed or frozen at this point."""
        process = PROCESS.get()
        if process is None or not process.alive or self.mixture.is_calm or self.chance.random() >= process.weight:
            return
        if self.crashes_left and self.happens("crash"):
            self.crashes_left -= 1
            self._kill(process)
            await self.loop.create_future()  # never comes
        if self.freezes_left and self.happens("freeze"):
            self.freezes_left -= 1
            process.freeze(self.chance.choice((1.0, 5.0, 15.0, 30.0)))
            await asyncio.sleep(0)

    async def carry(self, act: Callable[[], T], *, early: T | None = None) -> T:
        """Do something elsewhere and bring its answer back. Raises `Unavailable`, whether it was done or not.

        Once sent it is done, whatever becomes of the sender. With `early` that is the answer, before it is done.
        """
        await self.may_strike()
        if self.happens("refused"):
            raise Unavailable("refused")
        answer: asyncio.Future[T] = self.loop.create_future()
        if self.happens("lost_before"):
            self._answer_later(self.chance.choice(_FAILURE_SECONDS), answer, Unavailable("lost on the way"))
        elif early is not None:
            unheard = self.loop.create_future()
            unheard.set_result(None)
            self.loop.call_later(self.seconds() + 0.05, self._arrive, act, unheard, context=OUTSIDE)
            self._answer_later(self.seconds(), answer, early)
        else:
            self.loop.call_later(self.seconds(), self._arrive, act, answer, context=OUTSIDE)
        result = await answer
        await self.may_strike()
        return result

    def _arrive(self, act: Callable[[], Any], answer: "asyncio.Future[Any]") -> None:
        try:
            result = act()
        except Blocked as blocked:
            again = partial(self.loop.call_soon, self._arrive, act, answer, context=OUTSIDE)
            blocked.by.waiting.append(again)
            return
        except Exception as error:  # noqa: BLE001 - it is the sender's
            result = error
        if self.happens("lost_answer"):
            self._answer_later(self.chance.choice(_FAILURE_SECONDS), answer, Unavailable("the answer is lost"))
        elif self.happens("slow"):
            self._answer_later(self.seconds(), answer, result)
        else:
            _answer(answer, result)

    def _answer_later(self, seconds: float, answer: "asyncio.Future[Any]", result: object) -> None:
        self.loop.call_later(seconds, _answer, answer, result, context=OUTSIDE)

    async def rest(self, seconds: float) -> None:
        """A pause in which the process may be struck."""
        await asyncio.sleep(seconds)
        await self.may_strike()

    def pick(self, among: Sequence[T]) -> T:
        """One of these."""
        return among[int(self.chance.random() * len(among))]


def _answer(answer: "asyncio.Future[Any]", result: object) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
