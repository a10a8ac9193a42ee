"""What executors see of secrets: one query for what is missing, remembered for a while, bounded, and never more than
there is.
"""

from typing import Any
from uuid import UUID

import pytest
import structlog

from libs.common.clock import new_id
from libs.common.db.pool import Database
from libs.common.db.secrets import delete_secret, find_secret
from libs.common.errors import Unavailable
from libs.common.security.encryption import Vault
from services.executor import secret_values
from services.executor.secret_values import SecretValues
from tests.integration.conftest import MovableClock
from tests.integration.secrets.conftest import NEW_KEY, OLD_KEY, Safe

VAULT = Vault(OLD_KEY)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def values(database: Database, clock: MovableClock) -> SecretValues:
    return SecretValues(database, VAULT, clock, cache_seconds=30)


async def look(values: SecretValues, tenant_id: UUID, *names: str) -> dict[str, str]:
    await values.prepare([(tenant_id, frozenset(names))])
    return values.find(tenant_id, names)


async def test_values_are_found_and_missing_names_are_left_out(safe: Safe, values: SecretValues) -> None:
    await safe.put(VAULT, A="of a", B="Ünicode\n")
    other = new_id()
    await values.prepare(
        [(safe.tenant_id, frozenset({"A", "C"})), (safe.tenant_id, frozenset({"B"})), (other, frozenset({"A"}))]
    )
    assert values.find(safe.tenant_id, ["A", "B", "C"]) == {"A": "of a", "B": "Ünicode\n"}
    assert values.find(other, ["A"]) == {}
    assert values.find(safe.tenant_id, []) == {}


async def test_they_are_remembered_for_the_cache_time(safe: Safe, values: SecretValues, clock: MovableClock) -> None:
    await safe.put(VAULT, A="first", B="gone")
    assert await look(values, safe.tenant_id, "A", "B", "C") == {"A": "first", "B": "gone"}
    await safe.put(VAULT, A="second", C="new")
    async with safe.database.connection() as connection:
        assert await delete_secret(connection, safe.tenant_id, "B")
    clock.move(29)
    assert await look(values, safe.tenant_id, "A", "B", "C") == {"A": "first", "B": "gone"}
    clock.move(2)
    assert await look(values, safe.tenant_id, "A", "B", "C") == {"A": "second", "C": "new"}


async def test_only_what_is_missing_is_asked_for_and_at_once(
    safe: Safe, database_dsn: str, clock: MovableClock
) -> None:
    await safe.put(VAULT, **{f"S{number}": str(number) for number in range(300)})
    pool = Database(database_dsn, size=1, name="counted")
    await pool.open()
    try:
        asked: list[Any] = []
        async with pool.connection() as connection:
            connection.add_query_logger(lambda query: asked.append(query) if "secrets" in query.query else None)
            values = SecretValues(pool, VAULT, clock, cache_seconds=30)
        await values.prepare([(safe.tenant_id, frozenset({f"S{number}"})) for number in range(200)])
        assert len(asked) == 1
        assert len(asked[0].args[1]) == 200
        await values.prepare([(safe.tenant_id, frozenset({f"S{number}"})) for number in range(200)])
        await values.prepare([(safe.tenant_id, frozenset()), (new_id(), frozenset())])
        await values.prepare([])
        assert len(asked) == 1
        await values.prepare([(safe.tenant_id, frozenset({"S0", "S299", "NONE"}))])
        assert (len(asked), sorted(asked[1].args[1])) == (2, ["NONE", "S299"])
        assert values.find(safe.tenant_id, ["S0", "S299", "NONE"]) == {"S0": "0", "S299": "299"}
    finally:
        await pool.close()


async def test_the_use_is_noted_once_an_hour(safe: Safe, values: SecretValues, clock: MovableClock) -> None:
    await safe.put(VAULT, A="a", B="b")

    async def last_used() -> object:
        async with safe.database.connection() as connection:
            stored = await find_secret(connection, safe.tenant_id, "A")
            unused = await find_secret(connection, safe.tenant_id, "B")
        assert stored is not None and unused is not None and unused.last_used_at is None
        return stored.last_used_at

    assert await last_used() is None
    await look(values, safe.tenant_id, "A")
    noted = await last_used()
    assert noted is not None
    clock.move(31)
    await look(values, safe.tenant_id, "A")
    assert await last_used() == noted
    async with safe.database.connection() as connection:
        await connection.execute("UPDATE secrets SET last_used_at = last_used_at - interval '61 minutes'")
        before = await connection.fetchval("SELECT last_used_at FROM secrets WHERE name = 'A'")
        await connection.execute("UPDATE secrets SET last_used_at = NULL WHERE name = 'B'")
    clock.move(31)
    await look(values, safe.tenant_id, "A")
    assert await last_used() != before


async def test_a_row_held_by_somebody_is_no_obstacle(safe: Safe, values: SecretValues) -> None:
    await safe.put(VAULT, A="a")
    async with safe.database.transaction() as connection:
        await connection.execute("SELECT 1 FROM secrets FOR UPDATE")
        assert await look(values, safe.tenant_id, "A") == {"A": "a"}


async def test_what_does_not_open_is_missing_for_its_users_only(safe: Safe, values: SecretValues) -> None:
    await safe.put(VAULT, A="a", MOVED="moved")
    await safe.put(Vault(NEW_KEY), FOREIGN="sealed with a key that is not loaded")
    async with safe.database.connection() as connection:
        await connection.execute(
            "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'A') WHERE name = 'MOVED'"
        )
    with structlog.testing.capture_logs() as lines:
        assert await look(values, safe.tenant_id, "A", "MOVED", "FOREIGN") == {"A": "a"}
    assert sorted(line["name"] for line in lines) == ["FOREIGN", "MOVED"]
    assert {line["log_level"] for line in lines} == {"error"}


async def test_memory_is_bounded_and_a_batch_never_pushes_itself_out(
    safe: Safe, values: SecretValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_values, "_KEEP", 3)
    monkeypatch.setattr(secret_values, "_KEEP_CHARACTERS", 100)
    await safe.put(VAULT, A="a", B="b", C="c", D="d", BIG="x" * 99)
    assert len(await look(values, safe.tenant_id, "A", "B", "C", "D")) == 4
    await look(values, safe.tenant_id, "BIG")
    assert values.find(safe.tenant_id, ["BIG"]) == {"BIG": "x" * 99}
    with pytest.raises(Unavailable):
        values.find(safe.tenant_id, ["A", "B", "C", "D"])
    await look(values, safe.tenant_id, "C", "D")
    with pytest.raises(Unavailable, match="BIG"):
        values.find(safe.tenant_id, ["BIG"])


async def test_a_database_that_is_away_is_said(database_dsn: str, clock: MovableClock) -> None:
    pool = Database(database_dsn, size=1, name="away")
    values = SecretValues(pool, VAULT, clock, cache_seconds=30)
    with pytest.raises(Unavailable):
        await values.prepare([(new_id(), frozenset({"A"}))])
