"""PostgreSQL as the engine sees it: the product's own query functions run, and what they send is answered from memory.

The seam is the connection: a statement is known by its text, and `on_executions` and the like say what it does to rows.
A statement that is not known fails the world, so whatever the product begins to use has to be said there.
`tests/integration/db/test_simulated_database.py` puts the same sequences to this and to PostgreSQL and compares answers
and rows. Transactions are those of `store`; one whose connection broke is rolled back.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

from libs.common.db import executions
from libs.common.db.pool import AWAY, Connection, Database, reason
from libs.common.errors import Unavailable
from tests.simulation.on_data import OnData
from tests.simulation.on_executions import OnExecutions
from tests.simulation.on_signals import OnSignals
from tests.simulation.on_slots import OnSlots
from tests.simulation.store import Blocked, Transaction
from tests.simulation.tables import Answer, Flaw, Statement, Tables

_CHANGE: str = vars(executions)["_CHANGE"]


class Send(Protocol):
    """Carries a statement to the tables and its answer back; `early`: the answer, given before it is true."""

    def __call__(self, act: Callable[[], Any], *, early: Answer | None) -> Awaitable[Any]: ...


class SimulatedConnection:
    """As much of a connection as query functions use."""

    def __init__(self, tables: Tables, statements: dict[str, Statement], send: Send) -> None:
        self._tables, self._statements, self._send = tables, statements, send
        self._transaction: Transaction | None = None

    async def fetch(self, query: str, *arguments: Any, timeout: float | None = None) -> Answer:  # noqa: ASYNC109 - as the driver has it
        del timeout
        statement = self._statements.get(query)
        if statement is None:
            raise LookupError(f"say in tests/simulation what this statement does: {query}")
        if (mine := self._transaction) is not None and self._tables.flaw is not Flaw.TRANSACTIONS_ARE_TORN:
            return await self._send(lambda: self._tables.run(mine, lambda: statement(*arguments)), early=None)
        early = None
        if self._tables.flaw is Flaw.ANSWERS_BEFORE_COMMIT and query == _CHANGE:
            early = [{"id": id_} for id_ in arguments[2]]
        return await self._send(self._alone(lambda: statement(*arguments)), early=early)

    async def fetchrow(self, query: str, *arguments: Any) -> dict[str, Any] | None:
        found = await self.fetch(query, *arguments)
        return found[0] if found else None

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        found = await self.fetch(query, *arguments)
        return next(iter(found[0].values())) if found else None

    async def execute(self, query: str, *arguments: Any) -> None:
        await self.fetch(query, *arguments)

    async def cursor(self, query: str, *arguments: Any, prefetch: int) -> AsyncGenerator[dict[str, Any]]:
        del prefetch
        for row in await self.fetch(query, *arguments):
            yield row

    def is_in_transaction(self) -> bool:
        return self._transaction is not None

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """All that is sent meanwhile is one commit, or nothing. None inside another."""
        assert self._transaction is None, "a transaction inside another"
        mine = self._transaction = self._tables.begin()
        try:
            yield
            await self._send(lambda: self._tables.commit(mine), early=None)
        finally:
            self._transaction = None
            self._tables.end(mine)

    def _alone(self, statement: Callable[[], Answer]) -> Callable[[], Answer]:
        """The statement in a transaction of its own, which begins when it arrives."""
        begun: list[Transaction] = []

        def act() -> Answer:
            if not begun:
                begun.append(self._tables.begin())
            try:
                answer = self._tables.run(begun[0], statement)
            except Blocked:
                raise
            except Exception:
                self._tables.end(begun[0])
                raise
            self._tables.commit(begun[0])
            return answer

        return act


class SimulatedDatabase(Database):
    """Gives out simulated connections."""

    def __init__(self, tables: Tables, send: Send) -> None:
        super().__init__("", size=1, name="simulated")
        self._tables, self._send = tables, send
        self._statements: dict[str, Statement] = {}
        for kind in (OnExecutions, OnSignals, OnSlots, OnData):
            self._statements |= kind(tables).statements

    @asynccontextmanager
    async def connection(self, within_seconds: float | None = None) -> AsyncGenerator[Connection]:
        try:
            async with asyncio.timeout(within_seconds):
                yield cast(Connection, SimulatedConnection(self._tables, self._statements, self._send))
        except AWAY as error:
            raise Unavailable(f"The database is away: {reason(error)}") from error
