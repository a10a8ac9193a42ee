"""Where published keys come from: a file, or an address of the operator's identity provider.

    known key ─▶ at once; old keys are read anew in the background
    unknown   ─▶ read anew, at most every ten seconds, whoever asks

Keys that were read once go on counting while their source is away. A read is bounded in time and size; an address is
behind the guard of all outgoing connections, so one inside needs `SIGNALBOX_EGRESS_ALLOW`.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from libs.common.clock import Clock
from libs.common.errors import Unavailable
from libs.common.security.egress import EgressPolicy, guarded_session
from libs.common.security.jwks import PublishedKey, read_jwks
from libs.common.tasks import end_tasks

_MOST_BYTES = 262_144
_SECONDS = 5.0
_MOST_UNNAMED = 10
"""So many keys are tried for a token that does not say which it is signed with."""
_PAUSE = timedelta(seconds=10)
"""The least time between two reads."""

_log = structlog.get_logger(__name__)


class KeySource:
    """The keys of one source, as they were read last."""

    def __init__(self, source: str, policy: EgressPolicy, clock: Clock, refresh_seconds: float) -> None:
        """`source`: a path, or https://…"""
        self._source, self._policy, self._clock = source, policy, clock
        self._refresh = timedelta(seconds=refresh_seconds)
        self._keys: Sequence[PublishedKey] | None = None
        self._tried_at = self._stale_at = datetime.min.replace(tzinfo=UTC)
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None) -> list[PublishedKey]:
        """The keys of that id; None: the first ten. Raises `Unavailable` when none could be read so far."""
        now = self._clock.now()
        if self._keys is None or not self._named(key_id):
            await self._read_again(now)
        elif now >= self._stale_at:
            self._start_reading(now)
        if self._keys is None:
            raise Unavailable("The keys that tokens are checked with cannot be read now.")
        return self._named(key_id)

    async def close(self) -> None:
        """Nothing is read any more."""
        await end_tasks(self._reading)

    def _named(self, key_id: str | None) -> list[PublishedKey]:
        keys = self._keys or ()
        return list(keys[:_MOST_UNNAMED]) if key_id is None else [key for key in keys if key.id == key_id]

    async def _read_again(self, now: datetime) -> None:
        if now >= self._tried_at + _PAUSE:
            self._start_reading(now)
        if self._reading is not None:
            await asyncio.wait([self._reading])  # not awaited itself: who leaves does not end it for the others

    def _start_reading(self, now: datetime) -> None:
        if self._reading is None:
            self._tried_at, self._stale_at = now, now + _PAUSE
            self._reading = asyncio.get_running_loop().create_task(self._read())
            self._reading.add_done_callback(self._has_read)

    def _has_read(self, _: "asyncio.Task[None]") -> None:
        self._reading = None

    async def _read(self) -> None:
        try:
            self._keys = read_jwks(await self._load())
            self._stale_at = self._tried_at + self._refresh
        except (OSError, ValueError, Unavailable) as error:
            reason = error.detail if isinstance(error, Unavailable) else str(error) or type(error).__name__
            _log.warning("the keys of tokens cannot be read", source=self._source, reason=reason)

    async def _load(self) -> bytes:
        if "://" in self._source:
            return await self._fetch()
        return await asyncio.to_thread(_read_file, Path(self._source))

    async def _fetch(self) -> bytes:
        from libs.common.security.http_client import OutgoingRequest, SendFailed, send  # noqa: PLC0415 - heavy

        wanted = OutgoingRequest(
            "GET", self._source, {"accept": "application/json"}, _SECONDS, max_response_bytes=_MOST_BYTES,
            read_as="text",
        )  # fmt: skip
        async with guarded_session(self._policy) as session:
            try:
                answer = await send(session, wanted)
            except SendFailed as error:
                raise Unavailable(error.detail) from None
        if answer.status != 200:
            raise Unavailable(f"the answer has status {answer.status}")
        return str(answer.body).encode()


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)
