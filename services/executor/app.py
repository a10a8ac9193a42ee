"""The executor service: takes ready executions from the bus, runs them, records them."""

import asyncio
from uuid import UUID

import structlog

from libs.common.announce import Announcer
from libs.common.cache.connect import make_live_feed
from libs.common.clock import new_id
from libs.common.domain.expressions import compile_expression
from libs.common.parts import Parts
from libs.common.runtime import Checks
from services.executor.actions.all import build_effects
from services.executor.admission import Admission
from services.executor.consumer import ReadyConsumer
from services.executor.crowd import Crowd
from services.executor.engine import Engine
from services.executor.journal import Journal
from services.executor.leases import Lease
from services.executor.listeners import EndListeners
from services.executor.live import LiveReporter
from services.executor.mailbox import Mailbox
from services.executor.programs import Programs
from services.executor.redis_watch import RedisWatch
from services.executor.secret_values import SecretValues
from services.executor.wishes import Wishes

_LAST_FLUSH_SECONDS = 2.0
"""Beyond the drain time. While the database is away the journal would try for ever."""

_log = structlog.get_logger(__name__)


class ExecutorService:
    """One worker. Its identity is new with every start, so what an earlier one held is never mistaken for its own."""

    app = None

    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self.worker: UUID = new_id()
        self._feed = make_live_feed(parts.settings.redis_url.reveal())
        self._live = LiveReporter(self._feed)
        self._redis_watch = RedisWatch(self._feed, parts.settings.watch_seconds)
        self._announcer = Announcer(parts.bus, parts.windows)
        self._listeners = EndListeners(parts.database, parts.settings.cache_seconds)
        crowd = Crowd()
        self._journal = Journal(
            parts.database, self.worker, self._announcer, self._live, self._listeners, parts.windows, crowd
        )
        self._lease = Lease(parts.database, self.worker, "executor")
        self._effects = build_effects(parts.settings, parts.database, parts.clock)
        admission = Admission(parts.database, self._journal)
        self._engine = Engine(
            self._journal,
            self._lease,
            admission,
            Mailbox(parts.database),
            self._effects.types(),
            parts.clock,
            parts.settings.executor_slots,
        )
        self._consumer = ReadyConsumer(
            parts.bus,
            parts.database,
            Programs(parts.database),
            SecretValues(parts.database, parts.vault, parts.clock, parts.settings.cache_seconds),
            self._engine,
            parts.clock,
            crowd,
        )
        self._wishes = Wishes(parts.database, self.worker, self._lease, self._engine)
        self.checks: Checks = {"database": parts.database_answers, "bus": parts.bus_is_connected}

    async def start(self) -> None:
        """Known as alive, then consuming. The first template of a process is slow, so it is not left to a customer."""
        compile_expression("1 + 1").evaluate({})
        await self._lease.start()
        await self._listeners.start()
        await self._consumer.start()
        self._wishes.start()
        self._redis_watch.start()

    async def hang_up(self) -> None:
        """Nothing: nobody is connected."""

    async def stop(self) -> None:
        """Take no more, finish what is under way within the drain time, hand back the rest."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.drain_seconds
        await self._consumer.stop(self._settings.drain_seconds)
        left = await self._engine.drain(max(0.0, end - loop.time()))
        if left:
            _log.info("executions handed back", executions=left)
        await self._wishes.stop()
        await self._listeners.stop()
        try:
            async with asyncio.timeout(_LAST_FLUSH_SECONDS):
                await self._journal.close()
        except TimeoutError:
            _log.warning("the last records are lost; their executions go on from the ones before")
        await self._announcer.close()
        await self._redis_watch.stop()
        await self._live.close()
        await self._feed.close()
        await self._lease.stop()
        await self._effects.close()
