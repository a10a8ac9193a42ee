"""What a process is made of besides its service: settings, clock, database, bus, vault, the door. Opened once, closed
once.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from libs.common.accept import Acceptor
from libs.common.bus.connect import make_bus
from libs.common.bus.protocol import Bus
from libs.common.cache.connect import make_outstanding
from libs.common.clock import Clock, SystemClock
from libs.common.db.migrate import migrate
from libs.common.db.pool import Database
from libs.common.errors import OperatorError, Unavailable
from libs.common.security.encryption import Vault
from libs.common.settings import Settings
from libs.common.windows import Windows

if TYPE_CHECKING:
    from libs.common.telemetry.otlp import SpanExport

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The shared parts of one process, ready to use."""

    settings: Settings
    clock: Clock
    database: Database
    bus: Bus
    vault: Vault
    acceptor: Acceptor
    traces: "SpanExport | None" = None

    @property
    def windows(self) -> Windows | None:
        """What is known of the tenants' windows; None: nobody has one."""
        return self.acceptor.windows

    async def close(self) -> None:
        """Everything accepted is committed and announced; every connection is given back."""
        await self.acceptor.close()
        if self.windows is not None:
            await self.windows.close()
        await self.bus.close()
        await self.database.close()
        if self.traces is not None:
            await self.traces.close()

    async def database_answers(self) -> bool:
        """Readiness check of the database."""
        return await self.database.ping()

    async def bus_is_connected(self) -> bool:
        """Readiness check of the bus."""
        return self.bus.connected


async def open_parts(settings: Settings, name: str) -> Parts:
    """Bring the schema up to date and connect. A broker that is away is no obstacle: work is accepted and runs later.

    Raises `OperatorError` for a bad setting or a database that can't be used.
    """
    dsn = settings.database_url.reveal()
    vault = Vault(settings.master_keys.reveal())
    bus = make_bus(settings.bus_url.reveal(), settings.bus_prefix)
    await migrate(dsn)
    database = Database(dsn, size=settings.database_pool_size, name=name)
    await database.open()
    try:
        await bus.connect()
    except Unavailable as error:
        _log.warning("the broker is away; going on without it", reason=error.detail)
    windows = Windows(
        database, make_outstanding(settings.redis_url.reveal()), window=settings.run_window, budget=settings.run_budget
    )
    acceptor = Acceptor(database, bus, windows)
    return Parts(settings, SystemClock(), database, bus, vault, acceptor, _traces(settings, name))


def _traces(settings: Settings, name: str) -> "SpanExport | None":
    if not settings.otlp_endpoint:
        return None
    try:
        from libs.common.telemetry.otlp import SpanExport  # noqa: PLC0415 - only who exports pays for its memory
    except ImportError as error:
        raise OperatorError(f"SIGNALBOX_OTLP_ENDPOINT needs signalbox[traces]: {error}") from None
    return SpanExport(settings, name)
