"""Where calls are committed: in PostgreSQL, or while that is away on the local spool, if there is one.

Without a spool everything is as the acceptor says, `Unavailable` included. With one, a call that PostgreSQL does not
take is on the disk before it is answered, and in PostgreSQL once that is back. A commit that was in doubt is no
danger: the spool delivers calls by their ids, each once.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import structlog

from libs.common.accept import Acceptor, Arrival, Spooled
from libs.common.db.accepting import CallRow
from libs.common.db.group_commit import RefusedWrite
from libs.common.errors import Unavailable
from libs.common.runtime import Check
from libs.common.tasks import end_tasks
from libs.common.telemetry.metrics import count_spooled
from libs.common.telemetry.states import BREAKER
from services.webhooks.spool import Spool

_LOOK_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Taken(NamedTuple):
    """`execution_id`: of this call, or of the first one of its name. `spooled`: it runs once PostgreSQL is back."""

    execution_id: UUID
    spooled: bool


class Door:
    """Takes calls, in one place or the other."""

    def __init__(self, acceptor: Acceptor, spool: Spool | None, database_answers: Check) -> None:
        self.acceptor, self._spool, self._database_answers = acceptor, spool, database_answers
        self._is_away = False
        self._delivering: asyncio.Task[None] | None = None

    async def accept(self, arrival: Arrival) -> Taken:
        """As `Acceptor.accept_call`."""
        if self._spool is None or not self._is_away:
            try:
                return Taken(await self.acceptor.accept_call(arrival), spooled=False)
            except Unavailable as error:
                self._went_away(error)
        await self._append(Spooled(arrival=arrival))
        return Taken(arrival.execution.id, spooled=True)

    async def log_call(self, call: CallRow) -> None:
        """As `Acceptor.log_call`."""
        if self._spool is None or not self._is_away:
            try:
                return await self.acceptor.log_call(call)
            except Unavailable as error:
                self._went_away(error)
        await self._append(Spooled(call=call))

    async def find_delivery(self, tenant_id: UUID, trigger_id: UUID, delivery: bytes) -> UUID | None:
        """As `Acceptor.find_delivery`; unknown while PostgreSQL is away."""
        if self._spool is None or not self._is_away:
            try:
                return await self.acceptor.find_delivery(tenant_id, trigger_id, delivery)
            except Unavailable as error:
                self._went_away(error)
        return None

    def start(self) -> None:
        """Deliver what is spooled, by us or by a process that died, whenever PostgreSQL is there."""
        BREAKER.tell(0, "database")
        if self._spool is not None:
            self._delivering = asyncio.get_running_loop().create_task(self._keep_delivering(self._spool))

    async def stop(self) -> None:
        """What is spooled stays for the next process."""
        await end_tasks(self._delivering)
        if self._spool is not None:
            await self._spool.close()

    async def _append(self, call: Spooled) -> None:
        assert self._spool is not None  # _went_away has raised otherwise
        await self._spool.append(call)
        count_spooled("spooled", 1)

    def _went_away(self, error: Unavailable) -> None:
        """From now on nobody waits for PostgreSQL. Raises the error when there is no spool."""
        if self._spool is None:
            raise error
        if not self._is_away:
            _log.warning("PostgreSQL is away; calls go to the spool", reason=error.detail)
        self._is_away = True
        BREAKER.tell(1, "database")

    async def _keep_delivering(self, spool: Spool) -> None:
        while True:
            # Delivering begins a new file: in a long outage, trying in vain would leave one for each second.
            if (self._is_away or spool.has_files()) and await self._database_answers():
                await self._deliver(spool)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _deliver(self, spool: Spool) -> None:
        try:
            delivered = await spool.deliver(self._store)
        except Unavailable:
            return
        except OSError as error:
            _log.error("the spool cannot be read", reason=str(error))
            return
        if delivered:
            _log.info("calls of the spool are delivered", calls=delivered)
        if not spool.has_files():
            self._is_there()  # nothing has shown it; the next call will

    async def _store(self, calls: Sequence[Spooled]) -> int:
        results = await self.acceptor.deliver(calls)
        refused = [result for result in results if isinstance(result, RefusedWrite)]
        if failed := next((one for one in results if isinstance(one, BaseException) and one not in refused), None):
            raise failed
        count_spooled("refused", len(refused))
        count_spooled("delivered", len(calls) - len(refused))
        self._is_there()
        return len(refused)

    def _is_there(self) -> None:
        self._is_away = False
        BREAKER.tell(0, "database")
