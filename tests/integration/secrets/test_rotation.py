"""Changing the master key while everything runs: nothing is lost, nothing waits, and what is left is told."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest
import structlog

from libs.common.clock import new_id
from libs.common.data_keys import data_key_of
from libs.common.db.resealing import outdated_data_keys, reseal_data_keys
from libs.common.db.secrets import load_sealed, put_secret
from libs.common.db.triggers import StoredTrigger, list_triggers, sync_triggers
from libs.common.db.workflows import insert_workflow
from libs.common.errors import OperatorError, TenantErased
from libs.common.key_rotation import Outcome, Rotation, rotate_keys
from libs.common.security.encryption import DATA_KEY, CannotOpen, Vault, new_master_key
from services.executor.secret_values import SecretValues
from tests.integration.cli.test_commands import signalbox
from tests.integration.conftest import MovableClock
from tests.integration.secrets.conftest import NEW_KEY, OLD_KEY, Safe

OLD, NEW, BOTH = Vault(OLD_KEY), Vault(NEW_KEY), Vault(f"{NEW_KEY},{OLD_KEY}")
NOTHING = Outcome(0, 0, 0)


async def hook(safe: Safe, vault: Vault, *keys: str) -> list[StoredTrigger]:
    """A workflow whose webhook triggers have sealed secrets, and one trigger without."""
    workflow_id = new_id()
    wanted: list[StoredTrigger] = []
    for key in (*keys, "plain"):
        trigger_id = new_id()
        sealed = vault.seal(safe.tenant_id, trigger_id, msgspec.json.encode({"secret": f"of {key}"}))
        wanted.append(
            StoredTrigger(
                trigger_id, workflow_id, key, "webhook", "{}", None, True, key, None if key == "plain" else sealed, None
            )
        )
    async with safe.database.transaction() as connection:
        await insert_workflow(connection, safe.tenant_id, workflow_id, str(workflow_id), enabled=True)
        await sync_triggers(connection, safe.tenant_id, workflow_id, wanted)
    return wanted


async def opened(safe: Safe, vault: Vault) -> dict[str, bytes]:
    """Every secret as this vault reads it."""
    async with safe.database.connection() as connection:
        rows = await connection.fetch("SELECT tenant_id, name, sealed FROM secrets")
    return {row["name"]: vault.open(row["tenant_id"], row["name"], row["sealed"]) for row in rows}


async def opened_triggers(safe: Safe, vault: Vault, triggers: list[StoredTrigger]) -> dict[str, Any]:
    async with safe.database.connection() as connection:
        rows = await list_triggers(connection, safe.tenant_id, [triggers[0].workflow_id])
    return {
        row.key: row.sealed_secrets and msgspec.json.decode(vault.open(safe.tenant_id, row.id, row.sealed_secrets))
        for row in rows
    }


async def test_everything_is_sealed_with_the_first_key(safe: Safe) -> None:
    values = {f"S{number}": f"value {number}" for number in range(250)}
    await safe.put(OLD, **values)
    await safe.put(NEW, FRESH="fresh")
    triggers = await hook(safe, OLD, "a", "b")
    async with safe.database.connection() as connection:
        before = await connection.fetch("SELECT name, version, updated_at FROM secrets ORDER BY name")
    assert await rotate_keys(safe.database, BOTH) == Rotation(Outcome(250, 0, 0), Outcome(2, 0, 0))
    assert await opened(safe, NEW) == {name: value.encode() for name, value in {**values, "FRESH": "fresh"}.items()}
    wanted = {"a": {"secret": "of a"}, "b": {"secret": "of b"}, "plain": None}
    assert await opened_triggers(safe, NEW, triggers) == wanted
    async with safe.database.connection() as connection:
        assert await connection.fetch("SELECT name, version, updated_at FROM secrets ORDER BY name") == before
    assert await rotate_keys(safe.database, BOTH) == Rotation(NOTHING, NOTHING)


async def test_what_others_hold_is_left_and_waited_for_by_nobody(safe: Safe) -> None:
    await safe.put(OLD, A="a", B="b")
    triggers = await hook(safe, OLD, "a", "b")
    async with safe.database.transaction() as connection:
        await connection.execute("SELECT 1 FROM secrets WHERE name = 'A' FOR UPDATE")
        await connection.execute("SELECT 1 FROM triggers WHERE key = 'a' FOR UPDATE")
        first = await rotate_keys(safe.database, BOTH)
        assert (first, first.left) == (Rotation(Outcome(1, 0, 1), Outcome(1, 0, 1)), 2)
        assert await opened(safe, BOTH) == {"A": b"a", "B": b"b"}
        assert await opened_triggers(safe, BOTH, triggers) == {
            "a": {"secret": "of a"}, "b": {"secret": "of b"}, "plain": None,
        }  # fmt: skip
    assert await rotate_keys(safe.database, BOTH) == Rotation(Outcome(1, 0, 0), Outcome(1, 0, 0))
    assert await opened(safe, NEW) == {"A": b"a", "B": b"b"}


async def test_it_runs_beside_writers_and_readers(safe: Safe) -> None:
    names = [f"S{number}" for number in range(150)]
    await safe.put(OLD, **dict.fromkeys(names, "old value"))
    readers = SecretValues(safe.database, BOTH, MovableClock(), cache_seconds=0)
    rotating = asyncio.create_task(rotate_keys(safe.database, BOTH))

    async def write() -> None:
        for name in names[::3]:
            await safe.put(BOTH, **{name: "new value"})

    async def read() -> set[str]:
        seen = set[str]()
        while not rotating.done():
            await readers.load([(safe.tenant_id, frozenset(names))])
            found = readers.find(safe.tenant_id, names)
            assert len(found) == len(names)
            seen |= set(found.values())
        return seen

    _, seen, rotation = await asyncio.gather(write(), read(), rotating)
    assert seen <= {"old value", "new value"} and "old value" in seen
    assert (rotation.left, rotation.triggers) == (0, NOTHING)
    wanted = {name: b"new value" if name in names[::3] else b"old value" for name in names}
    assert await opened(safe, NEW) == wanted


class Died(Exception):
    """What ends a rotation in the middle."""


class DyingVault(Vault):
    """Seals so often, then the process is gone."""

    lives = 150

    def seal(self, tenant_id: UUID, record_id: UUID | str, plaintext: bytes, data_key: bytes | None = None) -> bytes:
        if self.lives == 0:
            raise Died
        self.lives -= 1
        return super().seal(tenant_id, record_id, plaintext, data_key)


async def test_an_end_in_the_middle_loses_nothing(safe: Safe) -> None:
    await safe.put(OLD, **{f"S{number}": str(number) for number in range(250)})
    with pytest.raises(Died):
        await rotate_keys(safe.database, DyingVault(f"{NEW_KEY},{OLD_KEY}"))
    wanted = {f"S{number}": str(number).encode() for number in range(250)}
    assert await opened(safe, BOTH) == wanted
    assert await rotate_keys(safe.database, BOTH) == Rotation(Outcome(150, 0, 0), NOTHING)
    assert await opened(safe, NEW) == wanted


async def test_what_no_key_opens_is_told_and_left_alone(safe: Safe) -> None:
    lost = Vault(new_master_key("lost"))
    await safe.put(OLD, A="a")
    await safe.put(lost, LOST="lost")
    triggers = await hook(safe, lost, "a")
    with structlog.testing.capture_logs() as lines:
        rotation = await rotate_keys(safe.database, BOTH)
    assert (rotation, rotation.left) == (Rotation(Outcome(1, 1, 0), Outcome(0, 1, 0)), 2)
    assert [line["record"] for line in lines] == ["LOST", triggers[0].id]
    assert (await opened_triggers(safe, lost, triggers))["a"] == {"secret": "of a"}
    with pytest.raises(CannotOpen):
        await opened(safe, BOTH)


async def test_data_keys_are_sealed_anew_and_what_they_seal_stays(safe: Safe) -> None:
    async with safe.database.connection() as connection:
        data_key = await data_key_of(connection, safe.tenant_id, OLD)
        assert await data_key_of(connection, safe.tenant_id, BOTH) == data_key  # there is one
        sealed = OLD.seal(safe.tenant_id, "A", b"a", data_key)
        await put_secret(connection, safe.tenant_id, "A", sealed=sealed, key_id="")
    with pytest.raises(CannotOpen):
        NEW.open(safe.tenant_id, "A", sealed, data_key)
    assert await rotate_keys(safe.database, BOTH) == Rotation(NOTHING, NOTHING, Outcome(1, 0, 0))
    async with safe.database.connection() as connection:
        (row,) = await load_sealed(connection, [(safe.tenant_id, "A")])
    assert row.sealed == sealed
    assert NEW.open(safe.tenant_id, "A", row.sealed, row.data_key) == b"a"
    assert await rotate_keys(safe.database, BOTH) == Rotation(NOTHING, NOTHING)


async def test_a_destroyed_data_key_does_not_come_back(safe: Safe) -> None:
    async with safe.database.connection() as connection:
        await data_key_of(connection, safe.tenant_id, OLD)
        rows = await outdated_data_keys(connection, NEW.sealing_mark, DATA_KEY, None, 10)
        await connection.execute("UPDATE tenants SET data_key = NULL, status = 'erasing'")
        assert await reseal_data_keys(connection, [(row, b"new") for row in rows]) == 0
        with pytest.raises(TenantErased):
            await data_key_of(connection, safe.tenant_id, OLD)
        assert await connection.fetchval("SELECT data_key FROM tenants") is None


async def test_without_a_key_it_says_so(safe: Safe) -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_MASTER_KEYS"):
        await rotate_keys(safe.database, Vault(""))


async def test_the_command(safe: Safe, database_dsn: str) -> None:
    await safe.put(OLD, A="a", B="b")
    await hook(safe, OLD, "a")
    settings = {"SIGNALBOX_DATABASE_URL": database_dsn, "SIGNALBOX_MASTER_KEYS": f"{NEW_KEY},{OLD_KEY}"}
    said = "sealed with key new: {} secrets, {} triggers, 0 data keys\n"
    assert (await signalbox("keys", "rotate", **settings))[:2] == (0, said.format(2, 1))
    assert await opened(safe, NEW) == {"A": b"a", "B": b"b"}
    await safe.put(OLD, C="c")
    settings["SIGNALBOX_MASTER_KEYS"] = NEW_KEY
    code, output, errors = await signalbox("keys", "rotate", **settings)
    assert (code, output) == (1, said.format(0, 0))
    assert errors.splitlines()[-1].startswith("signalbox: 1 are still sealed with another key")
    assert (await signalbox("keys", "rotate"))[2].startswith("signalbox: SIGNALBOX_MASTER_KEYS")
