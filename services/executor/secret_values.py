"""The values of secrets that runs use: read and opened as they are needed, and remembered briefly, in memory only.

A new value or a deletion is seen within `cache_seconds`. Secrets that do not exist are remembered too. The memory is
bounded, by number and by characters; what has just been prepared is never pushed out by its own batch. Names may be
logged, values never.
"""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from libs.common.clock import Clock
from libs.common.db.pool import Database
from libs.common.db.secrets import SealedSecret, load_sealed
from libs.common.errors import Unavailable
from libs.common.security.encryption import CannotOpen, Vault

_KEEP = 10_000
_KEEP_CHARACTERS = 67_108_864

_Place = tuple[UUID, str]
_log = structlog.get_logger(__name__)


class SecretValues:
    """Finds the values of secrets by tenant and name."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, cache_seconds: float) -> None:
        self._database, self._vault, self._clock = database, vault, clock
        self._fresh = timedelta(seconds=cache_seconds)
        self._known: OrderedDict[_Place, tuple[datetime, str | None]] = OrderedDict()
        self._characters = 0

    async def load(self, wanted: Iterable[tuple[UUID, frozenset[str]]]) -> None:
        """Have all of these at hand, with at most one query. Raises `Unavailable`."""
        places = {(tenant_id, name) for tenant_id, names in wanted for name in names}
        now = self._clock.now()
        missing = [place for place in places if not self._is_fresh(place, now)]
        if not missing:
            return
        async with self._database.connection() as connection:
            rows = await load_sealed(connection, missing)
        values = {(row.tenant_id, row.name): self._opened(row) for row in rows}
        for place in missing:
            self._remember(place, now + self._fresh, values.get(place))
        self._forget_beyond(places)

    def find(self, tenant_id: UUID, names: Iterable[str]) -> dict[str, str]:
        """The values of those that there are. `load` must have had the names just before; what has been pushed
        out of memory since then raises `Unavailable`.
        """
        found: dict[str, str] = {}
        for name in names:
            known = self._known.get((tenant_id, name))
            if known is None:
                raise Unavailable(f"The secret {name} is not at hand now.")
            if known[1] is not None:
                found[name] = known[1]
        return found

    def _is_fresh(self, place: _Place, now: datetime) -> bool:
        known = self._known.get(place)
        if known is None or known[0] <= now:
            return False
        self._known.move_to_end(place)
        return True

    def _opened(self, row: SealedSecret) -> str | None:
        try:
            return self._vault.open(row.tenant_id, row.name, row.sealed, row.data_key).decode()
        except CannotOpen as error:
            # Only the runs that use this one fail: for them it is not there.
            _log.error("a secret does not open", tenant_id=row.tenant_id, name=row.name, reason=error.detail)
            return None

    def _remember(self, place: _Place, until: datetime, value: str | None) -> None:
        self._drop(place)
        self._known[place] = (until, value)
        self._characters += len(value or "")

    def _drop(self, place: _Place) -> None:
        _, value = self._known.pop(place, (None, None))
        self._characters -= len(value or "")

    def _forget_beyond(self, kept: set[_Place]) -> None:
        while len(self._known) > _KEEP or self._characters > _KEEP_CHARACTERS:
            oldest = next(iter(self._known))
            if oldest in kept:
                return
            self._drop(oldest)
