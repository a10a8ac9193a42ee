"""Changing the master key: seals anew, with the first key, what another key sealed. Runs while everything else does.

    read a batch ─▶ open with its old key, seal with the first ─▶ exchange where nothing changed meanwhile

Each batch is one statement, so an end at any moment leaves every secret readable and what is left for the next run.
All services must have both keys, the new one in front, before this runs.
"""

from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from libs.common.db.pool import Connection, Database
from libs.common.db.resealing import (
    Resealed,
    SealedRow,
    outdated_data_keys,
    outdated_secrets,
    outdated_triggers,
    reseal_data_keys,
    reseal_secrets,
    reseal_triggers,
)
from libs.common.security.encryption import DATA_KEY, CannotOpen, Vault

_BATCH = 100
_PASSES = 5
"""How often what was held or changed by others is tried again."""

_log = structlog.get_logger(__name__)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one kind of sealed values: sealed anew; opened by no key; held by others until the end."""

    resealed: int
    unreadable: int
    held: int


class Rotation(msgspec.Struct, frozen=True):
    """What became of all secrets and of all secrets of triggers that a master key sealed itself, and of the data keys
    of tenants, which seal the rest.
    """

    secrets: Outcome
    triggers: Outcome
    data_keys: Outcome = Outcome(0, 0, 0)

    @property
    def left(self) -> int:
        """How many are still sealed with another key."""
        return sum(one.unreadable + one.held for one in (self.secrets, self.triggers, self.data_keys))


class _Kind(msgspec.Struct, frozen=True):
    """One kind of sealed values: how a batch behind a row is read, and how it is written."""

    read: Callable[[Connection, SealedRow | None], Awaitable[list[SealedRow]]]
    write: Callable[[Connection, Sequence[Resealed]], Awaitable[int]]


async def rotate_keys(database: Database, vault: Vault) -> Rotation:
    """Seal everything with the vault's first key. Raises `OperatorError` without any key, `Unavailable`."""
    key_id, mark = vault.sealing_id, vault.sealing_mark
    secrets = _Kind(
        lambda connection, after: outdated_secrets(connection, key_id, after, _BATCH),
        lambda connection, changes: reseal_secrets(connection, key_id, changes),
    )
    triggers = _Kind(lambda connection, after: outdated_triggers(connection, mark, after, _BATCH), reseal_triggers)
    data_keys = _Kind(
        lambda connection, after: outdated_data_keys(connection, mark, DATA_KEY, after, _BATCH), reseal_data_keys
    )
    kinds = (secrets, triggers, data_keys)
    return Rotation(*[await _rotate(database, vault, kind) for kind in kinds])


async def _rotate(database: Database, vault: Vault, kind: _Kind) -> Outcome:
    resealed, outcome = 0, Outcome(0, 0, 0)
    for _ in range(_PASSES):
        outcome = await _pass(database, vault, kind)
        resealed += outcome.resealed
        if outcome.held == 0:
            break
    return msgspec.structs.replace(outcome, resealed=resealed)


async def _pass(database: Database, vault: Vault, kind: _Kind) -> Outcome:
    """Once over all rows that another key sealed."""
    found = opened = resealed = 0
    after: SealedRow | None = None
    while True:
        async with database.connection() as connection:
            rows = await kind.read(connection, after)
            changes = _reseal(vault, rows)
            resealed += await kind.write(connection, changes)
        if not rows:
            return Outcome(resealed, found - opened, opened - resealed)
        found, opened, after = found + len(rows), opened + len(changes), rows[-1]


def _reseal(vault: Vault, rows: Sequence[SealedRow]) -> list[Resealed]:
    """Each row that opens, with what to put in its place."""
    changes: list[Resealed] = []
    for row in rows:
        try:
            plaintext = vault.open(row.tenant_id, row.record, row.sealed)
        except CannotOpen as error:
            _log.error("a secret does not open", tenant_id=row.tenant_id, record=row.record, reason=error.detail)
            continue
        changes.append((row, vault.seal(row.tenant_id, row.record, plaintext)))
    return changes
