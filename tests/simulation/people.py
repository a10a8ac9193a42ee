"""What people do in a world: they cancel, pause and resume executions, decide what they are asked, and raise events."""

from collections.abc import Callable, Sequence
from uuid import UUID

from libs.common.accept import Acceptor
from libs.common.db.approvals import Decision, decide
from libs.common.db.controlling import cancel_executions, pause_execution, resume_execution
from libs.common.domain.events import NewEvent
from libs.common.errors import Conflict, Unavailable
from tests.simulation.database import SimulatedDatabase
from tests.simulation.programs import EVENT
from tests.simulation.tables import Row, Tables
from tests.simulation.weather import Weather
from tests.simulation.workload import ACTOR, TENANT


class People:
    """Of the one tenant there is."""

    def __init__(
        self, weather: Weather, tables: Tables, database: SimulatedDatabase, acceptor: Callable[[], Acceptor],
        new_id: Callable[[], UUID], say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`acceptor`: makes the door that they use; `say`: is told what they do."""
        self._weather, self._tables, self._database = weather, tables, database
        self._acceptor, self._new_id, self._say = acceptor, new_id, say

    async def meddle(self) -> None:
        """Now and then, somebody does something."""
        weather = self._weather
        for _ in range(weather.chance.choice((0, 1, 4, 8))):
            await weather.rest(weather.chance.uniform(0.0, 6.0))
            if not self._tables.executions:
                continue
            one = weather.pick(list(self._tables.executions))
            wish = weather.chance.choice(("cancel", "pause", "pause", "resume", "decide", "decide", "raise"))
            self._say(f"{wish} {one.int & 0xFFFF}")
            try:
                await self._do(wish, one)
            except (Unavailable, Conflict):
                continue

    async def do_everything(self, rows: Sequence[Row]) -> None:
        """Whatever these executions may wait for happens; some of it in vain."""
        for row in rows:
            await self._do("resume", row.id)
        for approval in self._undecided():
            try:
                await self._decide(approval, "approve" if self._weather.chance.random() < 0.8 else "reject")
            except Conflict:
                continue
        await self._do("raise", TENANT)

    async def _do(self, wish: str, execution_id: UUID) -> None:
        async with self._database.connection() as connection:
            match wish:
                case "cancel":
                    await cancel_executions(connection, TENANT, [execution_id])
                case "pause":
                    await pause_execution(connection, TENANT, execution_id)
                case "resume":
                    await resume_execution(connection, TENANT, execution_id)
                case "raise":
                    await self._acceptor().raise_events([self._event()])
                case _:
                    if undecided := self._undecided():
                        await self._decide(self._weather.pick(undecided), self._weather.pick(("approve", "reject")))

    def _event(self) -> NewEvent:
        return NewEvent(TENANT, self._new_id(), EVENT, '{"n":1}', "api", actor=ACTOR)

    def _undecided(self) -> list[UUID]:
        return [id_ for id_, one in self._tables.approvals.items() if one["decided_at"] is None]

    async def _decide(self, approval_id: UUID, decision: Decision) -> None:
        async with self._database.transaction() as connection:
            await decide(connection, TENANT, approval_id, decision, None, ACTOR)
