"""A whole installation in one thread and no time: executors, schedulers, a gateway, one database and one broker.

The executors are the product's `ExecutorService` as it is, the schedulers run its duties, the gateway its door; only
what they reach through a socket is simulated. A world is decided by its seed alone: the same seed is the same world,
step by step. First there is a storm; then nothing fails any more and everything must come to its end.
"""

import logging
import random
import sys
from collections import deque
from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, NoReturn
from unittest.mock import patch
from uuid import UUID

import msgspec
import structlog

from libs.common.accept import Acceptor
from libs.common.announce import Announcer
from libs.common.db.versions import VersionKey
from libs.common.domain.expressions import compile_expression
from libs.common.errors import Unavailable
from libs.common.parts import Parts
from libs.common.security.encryption import Vault, new_master_key
from libs.common.settings import load_settings
from services.executor import programs
from services.executor.app import ExecutorService
from services.scheduler.loop import Loop
from services.scheduler.rescue import Rescue
from services.scheduler.slots import Slots
from services.scheduler.waking import Waking
from tests.simulation.bus import SimulatedBus
from tests.simulation.clockwork import EPOCH, OUTSIDE, PROCESS, Process, VirtualLoop
from tests.simulation.database import SimulatedDatabase
from tests.simulation.endpoint import Endpoint
from tests.simulation.laws import Laws
from tests.simulation.people import People
from tests.simulation.tables import INFINITY, Flaw, Row, Tables
from tests.simulation.ties import Ties
from tests.simulation.weather import CALM, Mixture, Weather
from tests.simulation.workload import TENANT, Workload

_PATIENCE_SECONDS = 3_000.0
"""In calm weather everything has ended after so long, or never will."""
_ROUNDS = 40
_SHOWN_BY_TIES = (Flaw.SIGNALS_DO_NOT_LOCK, Flaw.PARKED_ARE_NOT_LOOKED_AFTER, Flaw.RESULTS_ARE_NOT_KEPT)
"""These show only when transactions meet or are tried again that few worlds have many of."""
_SETTLING_SECONDS = 6.0
"""Long enough for the scheduler to mend what it may have to mend."""
_compile_once = lru_cache(compile_expression)
_VAULT = Vault(new_master_key())


class World:
    """One installation and its history."""

    def __init__(self, seed: int, flaw: Flaw | None = None, tell: Callable[[str], None] | None = None) -> None:
        """`flaw`: what is wrong with the database; `tell`: is told everything that happens."""
        self.seed, self.chance, self.loop = seed, Random(seed), VirtualLoop()
        self._tell = tell
        mixture = Mixture.of(self.chance)
        if flaw in _SHOWN_BY_TIES:
            mixture = replace(mixture, slow=0.05, lost_answer=0.05, is_calm=False)
        self.weather = Weather(self.loop, self.chance, mixture, self._kill)
        self.laws = Laws(self._say, self.loop.time, self.weather.mixture.is_calm)
        self.tables = Tables(self._database_time, self.laws, flaw)
        self.tables.misjudges = lambda: self.weather.happens("misjudged")
        self.database = SimulatedDatabase(self.tables, self.weather.carry)
        self.bus = SimulatedBus(self.weather)
        self.settings = load_settings(executor_slots=self.chance.choice((1, 2, 64)), drain_seconds=2.0)
        self.services: dict[Process, ExecutorService] = {}
        self.accepted: list[UUID] = []
        self._workers: dict[Process, UUID] = {}
        self.workload = Workload(self.chance, tied=flaw in _SHOWN_BY_TIES)
        for one in self.workload.workflows.values():
            self.tables.versions[VersionKey(TENANT, one.id, 1)] = one.text
            self.tables.workflows[TENANT, one.id] = {"name": one.name, "version": 1}
        self.laws.workflows = self.workload.workflows
        self.laws.ties = Ties(self.tables, self.workload.workflows)
        self._coming = deque(self.workload.new())
        self._user = Process(self.loop, "user")
        self.people = People(
            self.weather, self.tables, self.database, lambda: Acceptor(self.database, self.bus), self.new_id, self._say
        )
        self._made = 0

    def live(self) -> list[str]:
        """The whole history; returns what broke the laws."""
        with _replaced(self):
            self._begin()
            self.loop.run(until=self._is_over, deadline=self.chance.uniform(2.0, 30.0))
            self.weather.mixture = CALM
            self._gone(self._user)
            self._say("calm")
            self._run_until(self._is_quiet)
            self._end_it()
            self.loop.run(until=lambda: False, deadline=self.loop.time() + 2.0)
            self._judge()
            self.loop.close_all()
        return self.laws.broken

    # Its processes

    def _begin(self) -> None:
        for number in range(self.chance.randint(1, 3)):
            self._start(f"executor{number}")
        for number in range(self.chance.choice((1, 1, 1, 2))):
            self._start(f"scheduler{number}")
        self._start("gateway")
        self._user.start(self.people.meddle())
        for _ in range(self.chance.choice((0, 0, 1, 2))):
            self.loop.call_later(self.chance.uniform(0.0, 20.0), self._replace_one, context=OUTSIDE)

    def _start(self, name: str) -> None:
        skew = self.chance.choice((0.0, 0.0, -3.0, 0.7, 3.0))
        process = self._process(name, skew, 0.1 if name.startswith("scheduler") else 1.0)
        if name.startswith("executor"):
            process.start(self._execute(process))
        else:
            process.start(self._schedule() if name.startswith("scheduler") else self._accept())

    def _process(self, name: str, skew: float = 0.0, weight: float = 1.0) -> Process:
        return Process(self.loop, name, skew, weight)

    def _kill(self, process: Process) -> None:
        self._say(f"{process.name} is killed")
        self._gone(process)

    def _gone(self, process: Process) -> None:
        process.alive = False
        self.services.pop(process, None)
        self.bus.leave(process)
        for left in [one for one in self.tables.transactions if one.process is process]:  # its connection breaks
            self.loop.call_later(self.weather.seconds(), self.tables.end, left, context=OUTSIDE)
        if process.name != "user":
            self.loop.call_later(self.chance.uniform(0.1, 6.0), self._start, process.name, context=OUTSIDE)

    def _replace_one(self) -> None:
        """An executor is told to stop, as when a new release is rolled out. (Where nothing fails it stays: nobody
        else may be there to hear a wish.)
        """
        if self.services and not self.laws.calm:
            process = self.weather.pick(list(self.services))
            self._say(f"{process.name} is told to stop")
            process.start(self._stop(process, self.services.pop(process)))

    async def _stop(self, process: Process, service: ExecutorService) -> None:
        await service.stop()
        self._gone(process)

    async def _execute(self, process: Process) -> None:
        service = ExecutorService(self._parts(process))
        self._workers[process] = service.worker
        started = False
        while not started:
            try:
                await service.start()
            except Unavailable:
                await self.weather.rest(1.0)
            else:
                started = True
        self.services[process] = service

    async def _schedule(self) -> None:
        duties = [
            Waking(self.database, self.bus, Announcer(self.bus)), Rescue(self.database), Slots(self.database)
        ]  # fmt: skip
        Loop(duties).start()

    async def _accept(self) -> None:
        """The gateway: what it cannot say it accepted, it may have accepted all the same."""
        acceptor = Acceptor(self.database, self.bus)
        while self._coming:
            new = msgspec.structs.replace(self._coming[0], id=self.new_id())
            try:
                self.accepted.append(await acceptor.accept(new))
            except Unavailable:
                self._say("not accepted, perhaps")
            self._coming.popleft()
            await self.weather.rest(self.chance.choice((0.0, 0.0, 2.0)))

    def _parts(self, process: Process) -> Parts:
        return Parts(self.settings, process, self.database, self.bus, _VAULT, Acceptor(self.database, self.bus))

    # Its history

    def _end_it(self) -> None:
        """Whatever waits for people gets what it waits for, again and again, until everything has ended."""
        for _ in range(_ROUNDS):
            self._run_until(self._is_quiet)
            self.loop.run(until=lambda: False, deadline=self.loop.time() + _SETTLING_SECONDS)
            if self.laws.broken or not self._open():
                return
            if self._is_quiet():
                self.laws.judge_sleepers(self._open())
                self._run_until(self._process("user").start(self.people.do_everything(self._open())).done)
        self._say_stuck()

    def _run_until(self, holds: Callable[[], bool]) -> None:
        deadline = self.loop.time() + _PATIENCE_SECONDS
        if not self.loop.run(until=lambda: bool(self.laws.broken) or holds(), deadline=deadline):
            self._say_stuck()

    def _say_stuck(self) -> None:
        stuck = [f"e{row.id.int & 0xFFFF} is stuck {row.status}, {row.control}" for row in self._open()]
        self.laws.broken += stuck or ["executions are never accepted"]

    def _open(self) -> list[Row]:
        return [row for row in self.tables.executions.values() if not row.ended]

    def _is_over(self) -> bool:
        return not self._coming and not self._open()

    def _is_quiet(self) -> bool:
        """Nothing goes on by itself: everything has ended, waits for somebody or is paused; and nobody is frozen who
        might mend something.
        """
        if any(one.frozen and one.alive for one in self.loop.processes):
            return False
        return not self._coming and all(row.status == "waiting" and row.wake_at == INFINITY for row in self._open())

    def _judge(self) -> None:
        lost = [one for one in self.accepted if one not in self.tables.executions]
        self.laws.broken += [f"{one} was accepted and is not there" for one in lost]
        self.laws.judge_all(self.tables.executions.values())
        self.laws.broken += self.loop.broken

    def new_id(self) -> UUID:
        """A time-ordered identifier."""
        self._made += 1
        milliseconds = int((EPOCH + timedelta(seconds=self.loop.time())).timestamp() * 1000)
        return UUID(int=(milliseconds << 80) + self._made)

    def endpoint(self, *_: object) -> Endpoint:
        """What an executor calls instead of the network."""
        return Endpoint(self.weather, self.laws, self.tables, self._worker_here)

    def log(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> NoReturn:
        """An error in a log is one: whatever the product swallows so that it lives on must not happen here."""
        if event["event"] != "records refused":
            self.laws.broken.append(f"{event['event']}: {sys.exc_info()[1]!r}")
        raise structlog.DropEvent

    def _worker_here(self) -> UUID | None:
        process = PROCESS.get()
        return None if process is None else self._workers.get(process)

    def _database_time(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.time())

    def _say(self, what: str) -> None:
        if self._tell is not None:
            process = PROCESS.get()
            self._tell(f"{self.loop.time():9.3f} {process.name if process else '':12} {what}")


@contextmanager
def _replaced(world: World) -> Generator[None]:
    """While a world lives: the sockets of actions, identifiers, chance and logs are its own."""
    before = structlog.get_config()
    random.seed(world.seed)
    errors_only = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(processors=[world.log], wrapper_class=errors_only, cache_logger_on_first_use=False)
    try:
        with (
            patch.multiple(
                "services.executor.app",
                build_effects=world.endpoint,
                new_id=world.new_id,
                compile_expression=_compile_once,
            ),
            patch("services.executor.entries.new_id", world.new_id),
            patch("libs.common.db.local_work.new_id", world.new_id),
            patch("libs.common.db.local_writes.new_id", world.new_id),
            patch("libs.common.db.events.new_id", world.new_id),
            patch("services.executor.programs._compile", lru_cache(vars(programs)["_compile"])),
        ):
            yield
    finally:
        structlog.configure(**before)
