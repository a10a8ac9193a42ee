"""Events from an exchange of the platform (`SIGNALBOX_EVENTS_EXCHANGE`): the same bodies as of `POST /events`, through
the same door.

    message ─ readable? ─ tenant? ─ every event well-formed and named? ─▶ commit with others ─▶ acknowledge
                 └──────────┴────────────────┴─▶ log line, dead letters

A message is acknowledged after the commit that holds its events and all they start; whatever dies before, it comes
again and is known by the ids of its events. While the database is away messages stay in hand, `_PREFETCH` at most,
and are tried again in ever longer pauses. Any number of processes share the queue. The tenant is what the message
says: who may publish there is for the broker's permissions to decide.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import structlog

from libs.common.accept import Acceptor
from libs.common.bus.connect import consume_exchange
from libs.common.bus.protocol import Consumer, Delivery
from libs.common.db.events import EventIdTaken
from libs.common.db.group_commit import RefusedWrite
from libs.common.db.pool import Database
from libs.common.db.tenants import Tenant, find_tenant, find_tenant_called
from libs.common.domain.events import NewEvent
from libs.common.domain.faults import is_array, is_object, join_path
from libs.common.errors import Fault, InvalidInput, MalformedInput, SignalboxError, TooLarge, Unavailable
from libs.common.json_input import check_unique_names, decode_json
from libs.common.parts import Parts
from libs.common.sent_events import new_events, read_events
from libs.common.telemetry import metrics
from libs.common.telemetry.spans import Around, around_request, is_on, place_of_request

TENANT_HEADER = "X-Tenant-ID"
TENANT_FIELD = "tenant_id"

_PREFETCH = 64
_PAUSES = (0.5, 5.0)
"""First and longest pause, in seconds, before the database is tried again."""
_REMEMBERED_TENANTS = 10_000
_SHOWN_FAULTS = 20

_log = structlog.get_logger(__name__)
Done = TypeVar("Done")


class Refused(SignalboxError):
    """A message that no trying again mends. `check`: what it failed at."""

    slug = "refused-message"

    def __init__(self, check: str, detail: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(detail)
        self.check, self.faults = check, faults


class Intake:
    """Takes events from the exchange. `start` and `stop` once each."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._url, self._prefix, self._exchange = (
            settings.bus_url.reveal(),
            settings.bus_prefix,
            settings.events_exchange,
        )
        self._acceptor, self._max_bytes = parts.acceptor, settings.max_body_bytes
        self._tenants = Tenants(parts.database, settings.cache_seconds)
        self._stopping = asyncio.Event()
        self._consumer: Consumer | None = None

    def start(self) -> None:
        """Consuming, or (the broker or the exchange being away) going to. Off without an exchange or a broker."""
        if not self._exchange:
            return
        if self._url.startswith("memory:"):
            _log.warning("events exchange not used: the bus is in memory", exchange=self._exchange)
            return
        self._consumer = consume_exchange(self._url, self._prefix, self._exchange, self._handle, _PREFETCH)

    async def stop(self, seconds: float) -> None:
        """Takes no more; what is in hand is committed and acknowledged within that time, or comes again."""
        self._stopping.set()
        if self._consumer is not None:
            await self._consumer.stop(seconds)

    async def _handle(self, message: Delivery) -> None:
        given = _texts(message.headers).get("traceparent", "") if is_on() else ""
        with around_request("receive events", given, "consumer") as span:
            await self._take(message, span)

    async def _take(self, message: Delivery, span: Around) -> None:
        try:
            events = await self._patiently(lambda: self._read(message))
            raised = await self._patiently(lambda: _raise(self._acceptor, events))
        except Refused as error:
            metrics.count_exchange_message(error.check)
            span.failed(error.check)
            _log.warning(
                "event message refused", check=error.check, reason=error.detail, message_id=message.message_id[:255],
                faults=[f"{fault.path}: {fault.message}" for fault in error.faults[:_SHOWN_FAULTS]],
            )  # fmt: skip
            await message.reject()
        except Unavailable:
            await message.put_back()
        else:
            metrics.count_exchange_message("raised" if raised else "duplicate")
            await message.ack()

    async def _patiently(self, step: Callable[[], Awaitable[Done]]) -> Done:
        """What the step gives, as soon as the database is there. Raises `Unavailable` when we stop before."""
        pause, longest = _PAUSES
        while True:
            try:
                return await step()
            except Unavailable as error:
                if self._stopping.is_set():
                    raise
                _log.debug("event message waits", reason=error.detail)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(pause * 2, longest)

    async def _read(self, message: Delivery) -> dict[str, NewEvent]:
        """The events of a message by their paths. Raises `Refused` or `Unavailable`."""
        try:
            body, headers = _body(message.body, self._max_bytes), _texts(message.headers)
            named = _tenant_of(body, headers)
            sent = read_events(body)
            if unnamed := [path for path, event in sent.items() if event.id is None and not message.message_id]:
                raise InvalidInput([Fault(join_path(path, "id"), _NEEDS_ID) for path in unnamed])
        except InvalidInput as error:
            raise Refused("malformed", error.detail, error.faults) from None
        except (MalformedInput, TooLarge) as error:
            raise Refused("malformed", error.detail) from None
        tenant = await self._tenants.find(named)
        if tenant is None:
            raise Refused("unknown_tenant", f"there is no tenant {named[:100]!r}")
        if tenant.status != "active":
            raise Refused("suspended_tenant", f"the tenant {tenant.slug} is suspended")
        place = place_of_request(headers.get("traceparent", ""))
        return new_events(sent, tenant.id, "bus", key=message.message_id or None, traceparent=place)


_NEEDS_ID = "is required, here or as the message's message_id: a message may come twice"


class Tenants:
    """Tenants by id or slug, each remembered for `cache_seconds`."""

    def __init__(self, database: Database, cache_seconds: float) -> None:
        self._database, self._cache_seconds = database, cache_seconds
        self._known: dict[str, tuple[float, Tenant | None]] = {}

    async def find(self, named: str) -> Tenant | None:
        """The tenant, if there is one. Raises `Unavailable`."""
        known = self._known.get(named)
        if known is not None and known[0] > monotonic():
            return known[1]
        async with self._database.connection() as connection:
            found = (
                await find_tenant_called(connection, named)
                if (tenant_id := _as_id(named)) is None
                else await find_tenant(connection, tenant_id)
            )
        if len(self._known) >= _REMEMBERED_TENANTS:
            self._known.clear()
        self._known[named] = (monotonic() + self._cache_seconds, found)
        return found


async def _raise(acceptor: Acceptor, events: Mapping[str, NewEvent]) -> bool:
    """The events are committed; False: all of them were before. Raises `Refused` or `Unavailable`."""
    try:
        raised = await acceptor.raise_events(list(events.values()))
    except EventIdTaken as error:
        taken = [path for path, event in events.items() if event.id in error.event_ids]
        raise Refused(
            "id_taken", error.detail, tuple(Fault(join_path(path, "id"), "is taken") for path in taken)
        ) from None
    except RefusedWrite as error:
        raise Refused("refused_write", error.detail) from None
    return not all(one.duplicate for one in raised)


def _body(raw: bytes, max_bytes: int) -> dict[str, Any] | list[Any]:
    """The body of a message. Raises `TooLarge` or `MalformedInput`."""
    if len(raw) > max_bytes:
        raise TooLarge(max_bytes)
    body: Any = decode_json(raw)
    check_unique_names(raw, body)
    if not is_object(body) and not is_array(body):
        raise MalformedInput("The body must be a JSON object or a list.")
    return body


def _tenant_of(body: dict[str, Any] | list[Any], headers: Mapping[str, str]) -> str:
    """Whose events these are, by the header or by the field, which is taken out of the body. Raises `InvalidInput`."""
    header, field = (
        headers.get(TENANT_HEADER.lower(), "").strip(),
        body.pop(TENANT_FIELD, "") if is_object(body) else "",
    )
    if not isinstance(field, str) or "\0" in field + header:
        raise InvalidInput([Fault(TENANT_FIELD, "must be the id or the slug of a tenant")])
    if not header and not field:
        raise InvalidInput([Fault(f"headers.{TENANT_HEADER}", f"is needed, or the field {TENANT_FIELD}")])
    if header and field and header != field:
        raise InvalidInput([Fault(TENANT_FIELD, f"names another tenant than the header {TENANT_HEADER}")])
    return (header or field).lower()


def _texts(headers: Mapping[str, Any]) -> dict[str, str]:
    """The headers that are texts, their names in lower case."""
    return {name.lower(): text for name, value in headers.items() if (text := _text(value)) is not None}


def _text(value: object) -> str | None:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="replace")
    return value if isinstance(value, str) else None


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
