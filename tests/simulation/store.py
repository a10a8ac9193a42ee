"""Tables in memory with PostgreSQL's transactions, as READ COMMITTED has them.

What stands in `tables` is what is committed. A transaction keeps its writes to itself; while one of its statements
runs, which takes no time, they are put over the tables and taken away again. Rows that it writes, or asks for, are its
own until it ends: whoever else wants one waits, keeps what it has locked before, and then begins its statement anew.
Waiting in a ring is an error to the one who closes it.

It is kinder than PostgreSQL in two things: the statement that has waited sees everything of the newer state, not only
the rows it waited for, and every lock is exclusive.
"""

from collections.abc import Callable, Hashable
from typing import Any

import asyncpg

from tests.simulation.clockwork import PROCESS, Process

Key = tuple[str, Hashable]
"""Table and primary key."""
_ABSENT = object()


class Transaction:
    """Its writes, the locks it has, and who waits for its end. `process`: who began it."""

    def __init__(self, process: Process | None) -> None:
        self.process = process
        self.writes: dict[Key, Any] = {}
        self.events: dict[Hashable, Callable[[], None]] = {}
        self.locks: dict[Hashable, None] = {}
        self.waiting: list[Callable[[], object]] = []
        self.waits_for: Transaction | None = None
        self.is_over = False


class Blocked(Exception):
    """The statement has to wait until another transaction has ended."""

    def __init__(self, by: Transaction) -> None:
        self.by = by


class Store:
    """The tables, and whose statement runs."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Any]] = {}
        self.transactions: list[Transaction] = []
        self.rings = 0
        """How often a transaction was ended because it waited in a ring."""
        self._locks: dict[Hashable, Transaction] = {}
        self._present = Transaction(None)
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []
        self._written: list[Key] = []

    def begin(self) -> Transaction:
        """A transaction of the process that is here."""
        self.transactions.append(one := Transaction(PROCESS.get()))
        return one

    def run(self, transaction: Transaction, statement: Callable[[], Any]) -> Any:
        """One statement of it, wholly or not at all. Raises `Blocked` and what the statement raises."""
        if transaction.is_over:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        self._present, self._undo, transaction.waits_for = transaction, [], None
        for key, value in transaction.writes.items():
            self._put(key, value)
        events, self._written = dict(transaction.events), []
        try:
            result = statement()
            transaction.writes |= {key: self.tables[key[0]].get(key[1], _ABSENT) for key in self._written}
        except BaseException:
            transaction.events = events
            raise
        finally:
            for table, key, value in reversed(self._undo):
                _set(table, key, value)
        return result

    def commit(self, transaction: Transaction) -> None:
        """Its writes are there for all. Raises what a connection raises whose transaction was ended."""
        if transaction.is_over:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        for (table, key), value in transaction.writes.items():
            _set(self.tables[table], key, value)
        for event in transaction.events.values():
            event()
        self.end(transaction)

    def end(self, transaction: Transaction) -> None:
        """It is over; without a commit nothing has happened."""
        if transaction.is_over:
            return
        transaction.is_over = True
        self.transactions.remove(transaction)
        for lock in transaction.locks:
            del self._locks[lock]
        for wake in transaction.waiting:
            wake()

    # For statements

    def write(self, table: str, key: Hashable, value: Any) -> None:
        """The row of that primary key is this; None: it is gone."""
        self.lock(table, key)
        self._put((table, key), _ABSENT if value is None else value)
        self._written.append((table, key))

    def lock(self, table: str, key: Hashable) -> None:
        """The row (or whatever the name stands for) is this transaction's until it ends. Raises `Blocked`."""
        mine = self._present
        holder = self._locks.setdefault((table, key), mine)
        if holder is not mine:
            self._wait(mine, holder)
        elif (table, key) not in mine.locks:
            mine.locks[table, key] = None

    def is_free(self, table: str, key: Hashable) -> bool:
        """Whether nobody else has locked it."""
        return self._locks.get((table, key), self._present) is self._present

    def tell(self, about: Hashable, event: Callable[[], None]) -> None:
        """To be done with the commit, once for whatever it is about."""
        self._present.events.setdefault(about, event)

    def _wait(self, mine: Transaction, holder: Transaction) -> None:
        ring: Transaction | None = holder
        while ring is not None:
            if ring is mine:
                self.rings += 1
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            ring = ring.waits_for
        mine.waits_for = holder
        raise Blocked(holder)

    def _put(self, key: Key, value: Any) -> None:
        table = self.tables[key[0]]
        self._undo.append((table, key[1], table.get(key[1], _ABSENT)))
        _set(table, key[1], value)


def _set(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is _ABSENT:
        table.pop(key, None)
    else:
        table[key] = value
