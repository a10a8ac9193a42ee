"""From a message to running executions.

    message ─▶ decode ─▶ build runs (from the message, or from rows and records) ─▶ engine: taken, durable ─▶ ack

The message is acknowledged once every execution in it is durably taken, ended, or known to be somebody else's; until
then a crash brings it again. What nobody can read goes to the dead letters.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog

from libs.common.bus.messages import Ready, UndecodableMessage, decode, decode_snapshot
from libs.common.bus.protocol import Bus, Consumer, Delivery
from libs.common.clock import Clock, id_time
from libs.common.db.executions import load_pending, load_records
from libs.common.db.pool import Database, Record
from libs.common.db.signals import signals_of
from libs.common.db.versions import VersionKey
from libs.common.domain.awaiting import awaited
from libs.common.domain.execution import ActionStatus, Failure
from libs.common.domain.masking import Masker
from libs.common.domain.run import Run
from libs.common.domain.scope import build_scope
from libs.common.domain.turns import PastAttempt
from libs.common.errors import Unavailable
from services.executor.crowd import Crowd
from services.executor.engine import Engine
from services.executor.held import Control, Held
from services.executor.programs import LoadedVersion, Programs
from services.executor.secret_values import SecretValues
from services.executor.traced import place_of_stretch, place_of_stretch_before

_PREFETCH = 8
"""Messages, of many executions each, that wait here while others are under way."""
_PIECE = 8
"""So many of a bulk message are begun in one turn of the loop while several tenants are about."""
_PIECES_UNDER_WAY = 8
_DATABASE_AWAY_SECONDS = 1.0

_log = structlog.get_logger(__name__)
_decode_json = msgspec.json.Decoder().decode
_decode_failure = msgspec.json.Decoder(Failure).decode


class ReadyConsumer:
    """Takes ready executions from the bus and hands them to the engine."""

    def __init__(
        self, bus: Bus, database: Database, programs: Programs, secrets: SecretValues, engine: Engine, clock: Clock,
        crowd: Crowd | None = None,
    ) -> None:  # fmt: skip
        """`crowd`: what the journal knows too of who is about."""
        self._bus, self._database, self._engine, self._clock = bus, database, engine, clock
        self._programs, self._secrets, self._crowd = programs, secrets, crowd or Crowd()
        self._consumers: list[Consumer] = []
        self._bulk_turn, self._pieces = asyncio.Lock(), set[asyncio.Task[None]]()

    async def start(self) -> None:
        """Begin to consume."""
        self._consumers.append(await self._bus.consume(self._handle, _PREFETCH))
        self._consumers.append(await self._bus.consume(self._handle_bulk, _PREFETCH, bulk=True))

    async def stop(self, seconds: float) -> None:
        """Take no more and put back what has not begun; the messages in hand are settled within that time."""
        self._engine.refuse_more()
        await asyncio.gather(*[consumer.stop(seconds) for consumer in self._consumers])

    async def _handle_bulk(self, delivery: Delivery) -> None:
        await self._handle(delivery, bulk=True)

    async def _handle(self, delivery: Delivery, *, bulk: bool = False) -> None:
        if not await self._engine.wait_for_room(bulk=bulk):
            await delivery.put_back()
            return
        try:
            message = decode(delivery.body)
        except UndecodableMessage as error:
            _log.warning("message to the dead letters", reason=error.detail)
            await delivery.reject()
            return
        items = {item.execution_id: item for item in message.items}
        for item in message.items:
            self._crowd.note(item.tenant_id)
        await self._engine.let_park(message.items)
        with self._engine.reserved(items) as mine:
            ours = [item for key, item in items.items() if key in mine]
            taken = await (self._take_in_pieces(ours) if bulk and self._crowd.is_shared else self._take(ours, bulk))
        await (delivery.ack() if taken else delivery.put_back())

    async def _take(self, items: Sequence[Ready], bulk: bool) -> bool:
        """The executions are durably taken, ended or another's; False when the executor stops before."""
        with nullcontext() if bulk else self._crowd.ahead():
            batch = await self._build_patiently(items)
            if batch:
                await self._engine.start(batch)
        return batch is not None

    async def _take_in_pieces(self, items: Sequence[Ready]) -> bool:
        """As `_take`, a piece in a turn of the loop, between which others have theirs."""
        begun: list[asyncio.Task[None]] = []
        try:
            async with self._bulk_turn:
                for place in range(0, len(items), _PIECE):
                    await self._let_others_go_first()
                    batch = await self._build_patiently(items[place : place + _PIECE], bulk=True)
                    if batch is None:
                        return False
                    begun.append(self._begin_piece(batch))
        except asyncio.CancelledError:
            for piece in begun:
                piece.cancel()
            raise
        finally:
            ends = await asyncio.gather(*begun, return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end
        return True

    async def _let_others_go_first(self) -> None:
        while len(self._pieces) >= _PIECES_UNDER_WAY:
            await asyncio.wait(self._pieces, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        await self._crowd.let_pass()

    def _begin_piece(self, batch: Sequence[Held]) -> "asyncio.Task[None]":
        for held in batch:
            held.is_bulk = True
        task = asyncio.get_running_loop().create_task(self._engine.start(batch))
        self._pieces.add(task)
        task.add_done_callback(self._pieces.discard)
        return task

    async def _build_patiently(self, items: Sequence[Ready], *, bulk: bool = False) -> list[Held] | None:
        """As `_build`, as soon as the database is there; None when the executor stops before.

        The message stays in hand meanwhile: put back again and again it would end among the dead letters.
        """
        while await self._engine.wait_for_room(bulk=bulk):
            try:
                return await self._build(items)
            except Unavailable:
                await asyncio.sleep(_DATABASE_AWAY_SECONDS)
        return None

    async def _build(self, items: Sequence[Ready]) -> list[Held]:
        loaded = await self._programs.load([_version_of(item) for item in items])
        await self._secrets.load((version.tenant_id, one.secret_names) for version, one in loaded.items())
        fresh = [item for item in items if item.snapshot and item.epoch == 0]
        known = {item.execution_id: item for item in items if not (item.snapshot and item.epoch == 0)}
        held = [self._held_from_message(item, loaded[_version_of(item)]) for item in fresh]
        return held + await self._held_from_rows(known, loaded) if known else held

    def _held_from_message(self, item: Ready, loaded: LoadedVersion) -> Held:
        snapshot = decode_snapshot(item.snapshot)
        held = self._held(
            item, loaded, 1, snapshot.trigger_type, snapshot.trigger_id, snapshot.trigger_key,
            _decode_json(snapshot.input),
        )  # fmt: skip
        held.actor = snapshot.actor
        return held

    async def _held_from_rows(self, items: dict[UUID, Ready], loaded: Mapping[VersionKey, LoadedVersion]) -> list[Held]:
        wanted = [(item.tenant_id, item.execution_id) for item in items.values()]
        async with self._database.connection() as connection:
            rows = await load_pending(connection, wanted)
            records = await load_records(connection, [(row["tenant_id"], row["id"]) for row in rows])
            past: dict[UUID, list[PastAttempt]] = {}
            sizes: dict[UUID, int] = {}
            for record in records:
                key = record["execution_id"]
                past.setdefault(key, []).append(_past_attempt(record))
                sizes[key] = sizes.get(key, 0) + len(record["output"] or "")
            listening = {key for key, attempts in past.items() if any(map(awaited, attempts))}
            wanted = [(row["tenant_id"], row["id"]) for row in rows if row["id"] in listening]
            signals = await signals_of(connection, wanted) if wanted else []
        batch = {row["id"]: self._held_from_row(items[row["id"]], row, past.get(row["id"], []), loaded) for row in rows}
        for key, held in batch.items():
            held.output_bytes = sizes.get(key, 0)
        for signal in signals:
            batch[signal.execution_id].told.append(signal)
        return list(batch.values())

    def _held_from_row(
        self, item: Ready, row: Record, past: Sequence[PastAttempt], loaded: Mapping[VersionKey, LoadedVersion]
    ) -> Held:
        held = self._held(
            item, loaded[_version_of(item)], row["epoch"] + 1, row["trigger_type"], row["trigger_id"],
            row["trigger_key"] or "", _decode_json(row["input"]), row["original_id"],
        )  # fmt: skip
        held.run.remember(past)
        held.accepted_by = row["traceparent"]
        held.goes_on_from = place_of_stretch_before(item.traceparent, item.execution_id, row["epoch"], past)
        held.actor = row["actor"]
        held.has_ties = held.has_ties or row["parent_position"] is not None or any(map(awaited, past))
        held.wish = Control(row["control"]) if row["control"] else None
        return held

    def _held(
        self, item: Ready, loaded: LoadedVersion, epoch: int, trigger_type: str, trigger_id: UUID | None,
        trigger_key: str, data: Any, original_id: UUID | None = None,
    ) -> Held:  # fmt: skip
        trigger = {"id": str(trigger_id) if trigger_id else None, "type": trigger_type, "key": trigger_key}
        execution = {"id": str(item.execution_id)}
        scope = build_scope(trigger, data, execution, loaded.workflow, loaded.tenant)
        mask = None
        if loaded.secret_names:
            secrets = self._secrets.find(item.tenant_id, loaded.secret_names)
            scope["secrets"], mask = secrets, Masker(secrets.values()).mask
        run = Run(
            item.execution_id, loaded.program, scope, self._clock.now(), _deadline(item, loaded),
            place_of_stretch(item.traceparent, item.execution_id, epoch), loaded.broken, original_id, mask,
        )  # fmt: skip
        needs_slot = loaded.key_of is not None
        return Held(
            item.tenant_id, item.execution_id, item.workflow_id, epoch, run, data, key_of=loaded.key_of,
            has_ties=needs_slot, came_by=item.traceparent,
        )  # fmt: skip


def _version_of(item: Ready) -> VersionKey:
    return VersionKey(item.tenant_id, item.workflow_id, item.version)


def _deadline(item: Ready, loaded: LoadedVersion) -> datetime | None:
    seconds = loaded.program.definition.timeout_seconds
    return None if seconds is None else id_time(item.execution_id) + timedelta(seconds=seconds)


def _past_attempt(row: Record) -> PastAttempt:
    return PastAttempt(
        row["position"],
        row["attempt"],
        ActionStatus(row["status"]),
        row["started_at"],
        None if row["output"] is None else _decode_json(row["output"]),
        None if row["error"] is None else _decode_failure(row["error"]),
        row["wake_at"],
        row["iteration"],
        None if row["state"] is None else _decode_json(row["state"]),
    )
