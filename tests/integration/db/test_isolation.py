"""PostgreSQL keeps tenants apart by itself: every table of tenants is guarded, the role that works for a tenant sees
its rows alone whatever a statement forgets, and a server on which that cannot be is refused with one line.
"""

import ast
import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

import libs
from libs.common.clock import new_id
from libs.common.db.isolation import isolate_tenants
from libs.common.db.migrate import migrate
from libs.common.db.pool import APP_ROLE, Connection, Database
from libs.common.errors import OperatorError
from tests.factories import make_tenant, make_workflow
from tests.integration.db.test_foreign_tenant import everything_of

WITHOUT_TENANT = {
    "schema_migrations": "which migrations the schema has; nobody's",
    "workers": "which processes are alive; nobody's",
    "erasures": "the platform's receipts of tenants that are gone",
    "usage_progress": "up to which hour everybody is metered; nobody's",
}
SERVICE_ROLE = {
    "services/gateway/key_identity.py": "a key says which tenant it speaks for",
    "services/gateway/key_uses.py": "one write for all tenants; it names them",
    "services/gateway/tenant_states.py": "a name says which tenant is meant, before anybody speaks for it",
    "services/gateway/refused.py": "one write for all tenants and the platform; a name says which tenant is meant",
    "services/gateway/routes/admin.py": "the platform's own routes",
    "services/gateway/routes/audit.py": "the platform's own log",
    "services/gateway/routes/doctor.py": "the platform's own routes",
    "services/gateway/routes/limits.py": "the platform's own routes",
    "services/gateway/routes/usage.py": "the platform's export, and how far everybody is metered",
    "services/gateway/routes/records.py": "the search: behind a policy no operator of jsonb is an index condition",
    "services/webhooks/endings.py": "one read for all who wait, of any tenant; it names them",
    "services/webhooks/secret_uses.py": "one write for all tenants; it names them",
    "services/webhooks/triggers.py": "the trigger that a call names says whose it is",
    "libs/common/accept.py": "group commits of many tenants; they name them",
    "libs/common/limits/in_flight.py": "counts in the background, of any tenant; it names them",
    "libs/common/limits/near.py": "one write for all tenants; it names them",
}
"""Where gateway and webhooks use the role that sees all tenants, and why. Everything else goes by `for_tenant`."""
TENANTS_OWN = {"tenant_feed.py": ("self._database",)}
"""There the name stands for a `TenantDatabase`."""
_TABLES = """
SELECT c.oid, c.relname AS name, c.relispartition AS is_part, c.relrowsecurity AND c.relforcerowsecurity AS is_forced,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS has_tenant,
       (SELECT array_agg(concat_ws(' ', polname, polcmd, polroles::regrole[], pg_get_expr(polqual, polrelid))
                         ORDER BY polname) FROM pg_policy WHERE polrelid = c.oid) AS policies,
       (SELECT coalesce(array_agg(p ORDER BY p), '{}')
          FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p
         WHERE has_table_privilege('signalbox_app', c.oid, p)) AS rights
  FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relnamespace = 'public'::regnamespace
"""
_OWN = "(tenant_id = (NULLIF(current_setting('signalbox.tenant_id'::text, true), ''::text))::uuid)"
_KEYS = """
SELECT c.relname || ': ' || pg_get_indexdef(i.indexrelid) AS text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
 WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
   AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
   AND (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = i.indkey[0]) <> 'tenant_id'
"""
_DEFINERS = "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"


async def test_every_table_of_tenants_is_guarded(database: Database) -> None:
    async with database.connection() as connection:
        tables = await connection.fetch(_TABLES)
        owner = await connection.fetchval("SELECT current_user")
    wanted = [f"service * {{{owner}}} true", f"tenant * {{{APP_ROLE}}} {_OWN}"]
    for table in tables:
        name = table["name"]
        if table["is_part"]:
            assert table["rights"] == [], f"{name}: a partition is a way around the policy of its table"
        elif table["has_tenant"]:
            assert (table["is_forced"], table["policies"]) == (True, wanted), name
            assert set(table["rights"]) <= {"DELETE", "INSERT", "SELECT", "UPDATE"}, name
            assert name != "audit_log" or table["rights"] == ["INSERT", "SELECT"]
            assert name not in {"usage", "limit_warnings"} or table["rights"] == ["SELECT"], name
        else:
            assert name in WITHOUT_TENANT, f"{name} has no tenant_id: give it one, or say here why not"
            assert table["rights"] == [], name
    assert {table["name"] for table in tables} >= {"tenants", "executions", *WITHOUT_TENANT}


async def test_no_key_and_no_function_leads_around_the_policies(database: Database) -> None:
    """A unique key that does not begin with the tenant tells of other tenants' rows; so may a function of the owner."""
    async with database.connection() as connection:
        keys = {row["text"].split(" ON ")[0].split()[-1] for row in await connection.fetch(_KEYS)}
        assert keys == {
            "api_keys_hash",  # of 256 random bits; it says whose it is
            "tenants_slug_key",  # of the platform's own list
            "triggers_id",  # a UUID that we make; a webhook call names nothing else
        }
        assert await connection.fetch(_DEFINERS) == []


def test_the_role_that_sees_all_is_used_where_it_must() -> None:
    found: set[str] = set()
    root = Path(libs.__path__[0]).parent
    paths = [path for name in ("gateway", "webhooks") for path in (root / "services" / name).rglob("*.py")]
    shared = root / "libs" / "common"
    for path in [*paths, shared / "accept.py", *(shared / "limits").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("connection", "transaction", "snapshot"):
                source = ast.unparse(node.value)
                if source.endswith("database") and source not in TENANTS_OWN.get(path.name, ()):
                    found.add(str(path.relative_to(root)))
    assert found == SERVICE_ROLE.keys()


@pytest.fixture
async def two(database: Database) -> tuple[UUID, UUID]:
    """Two tenants with a row in every table."""
    async with database.connection() as connection:
        left, right = [await everything_of(connection, slug, slug.encode()) for slug in ("left", "right")]
    return left.tenant, right.tenant


async def seen(connection: Connection) -> dict[str, set[UUID]]:
    """Whose rows each table shows to a query that names no tenant."""
    tables = [row["name"] for row in await connection.fetch(_TABLES) if row["has_tenant"] and not row["is_part"]]
    found = {name: await connection.fetch(f"SELECT DISTINCT tenant_id FROM {name}") for name in tables}
    return {name: {row["tenant_id"] for row in rows} for name, rows in found.items()}


async def test_without_a_tenant_no_row_is_seen(database: Database, two: tuple[UUID, UUID]) -> None:
    async with database.transaction() as connection:
        assert all(whose == set(two) for whose in (await seen(connection)).values())
        await connection.execute("SET LOCAL ROLE signalbox_app")
        assert all(whose == set() for whose in (await seen(connection)).values())
        await connection.execute("SET LOCAL signalbox.tenant_id = ''")
        assert all(whose == set() for whose in (await seen(connection)).values())


async def test_a_query_that_forgets_the_tenant_reads_and_writes_its_own_alone(
    database: Database, two: tuple[UUID, UUID]
) -> None:
    for tenant in two:
        async with database.for_tenant(tenant).transaction() as connection:
            assert all(whose == {tenant} for whose in (await seen(connection)).values())
    async with database.for_tenant(two[0]).transaction() as connection:
        await connection.execute("UPDATE workflows SET name = name || ', mine'")
        await connection.execute("DELETE FROM webhook_logs")
    async with database.connection() as connection:
        names = await connection.fetch("SELECT tenant_id, name FROM workflows")
        assert {tuple(row) for row in names} == {
            (two[0], "Work, mine"), (two[0], "Nightly, mine"), (two[1], "Work"), (two[1], "Nightly"),
        }  # fmt: skip
        assert [row["tenant_id"] for row in await connection.fetch("SELECT tenant_id FROM webhook_logs")] == [two[1]]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO idempotency_keys (tenant_id, key, request_hash, execution_id) VALUES ($1, 'x', '', $1)",
        "UPDATE collections SET tenant_id = $1",
        "UPDATE tenants SET name = 'x' WHERE tenant_id <> $1",
        "INSERT INTO tenants (tenant_id, slug, name) VALUES ($1, 'x', 'x')",
        "SELECT count(*) FROM workers WHERE id = $1",
        "UPDATE audit_log SET actor = 'x' WHERE tenant_id <> $1",
        "DELETE FROM audit_log WHERE tenant_id <> $1",
        "SELECT name FROM schema_migrations WHERE name = $1::uuid::text",
    ],
)
async def test_what_is_not_one_s_own_is_refused(database: Database, two: tuple[UUID, UUID], statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.for_tenant(two[0]).transaction() as connection:
            await connection.fetch(statement, two[1])


async def test_no_way_around_by_a_partition_or_a_setting(database: Database, two: tuple[UUID, UUID]) -> None:
    async with database.connection() as connection:
        (parts,) = [[row["name"] for row in await connection.fetch(_TABLES) if row["is_part"]]]
    assert len(parts) > 10
    for statement in (f"SELECT * FROM {parts[0]}", "SET LOCAL row_security = off; SELECT * FROM executions"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.for_tenant(two[0]).transaction() as connection:
                await connection.execute(statement)


async def test_role_and_tenant_end_with_the_transaction(database_dsn: str) -> None:
    database = Database(database_dsn, size=1, name="test")
    await database.open()
    look = "SELECT current_user = session_user, coalesce(current_setting('signalbox.tenant_id', true), '')"
    async with database.connection() as connection:
        tenant = await make_tenant(connection)
    for _ in range(2):
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with database.for_tenant(tenant).transaction() as connection:
                await make_workflow(connection, tenant)
                await connection.execute("SELECT 1 / 0")
        async with database.for_tenant(tenant).snapshot() as connection:
            assert tuple(await connection.fetchrow(look) or ()) == (False, tenant.hex)
            assert await connection.fetchval("SELECT count(*) FROM workflows") == 0
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute("DELETE FROM workflows")
        async with database.connection() as connection:
            assert tuple(await connection.fetchrow(look) or ()) == (True, "")
            assert await connection.fetchval("SELECT count(*) FROM tenants") == 1
    await database.close()


async def test_who_is_cancelled_at_any_moment_leaves_neither_role_nor_tenant(database_dsn: str) -> None:
    database, loop, complaints = Database(database_dsn, size=1, name="test"), asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    await database.open()

    async def read() -> None:
        async with database.for_tenant(new_id()).transaction() as connection:
            await connection.fetchval("SELECT count(*) FROM tenants")

    cancelled = 0
    for turns in range(60):
        reading = asyncio.ensure_future(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        (outcome,) = await asyncio.gather(reading, return_exceptions=True)
        cancelled += isinstance(outcome, asyncio.CancelledError)
        async with database.connection() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT current_user = session_user")
    await database.close()
    assert cancelled > 5
    assert complaints == []


async def test_what_is_there_is_guarded_by_the_next_start(database: Database) -> None:
    """A table of any release, and one whose guard somebody has taken away."""
    async with database.connection() as connection:
        assert await isolate_tenants(connection) == []
        await connection.execute("CREATE TABLE novelties (tenant_id uuid PRIMARY KEY)")
        await connection.execute("ALTER TABLE secrets NO FORCE ROW LEVEL SECURITY")
        await connection.execute("DROP POLICY tenant ON events")
        assert await isolate_tenants(connection) == ["events", "novelties", "secrets"]
        assert await isolate_tenants(connection) == []


@pytest.fixture
async def plain_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """Address of an empty database of a role that may make no roles."""
    name, server = f"plain_{os.urandom(4).hex()}", await asyncpg.connect(postgres_dsn)
    await server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'plain'; GRANT {name} TO CURRENT_USER")
    await server.execute(f"CREATE DATABASE {name} OWNER {name}")
    parts = urlsplit(postgres_dsn)
    netloc = f"{name}:plain@{parts.netloc.rpartition('@')[2]}"
    yield parts._replace(netloc=netloc, path=f"/{name}").geturl()
    await server.execute(f"DROP DATABASE {name}")
    await server.execute(f"DROP ROLE {name}")
    await server.close()


@pytest.mark.usefixtures("migrated_template")  # by whose migration the role is there
async def test_a_login_that_may_not_act_for_tenants_is_told_what_to_do(postgres_dsn: str, plain_dsn: str) -> None:
    login = urlsplit(plain_dsn).username
    server = await asyncpg.connect(postgres_dsn)
    await server.execute("ALTER ROLE signalbox_app RENAME TO signalbox_away")
    try:
        with pytest.raises(OperatorError) as missing:
            await migrate(plain_dsn)
    finally:
        await server.execute("ALTER ROLE signalbox_away RENAME TO signalbox_app")
    with pytest.raises(OperatorError) as refused:
        await migrate(plain_dsn)
    grant = f'GRANT signalbox_app TO "{login}";'
    assert missing.value.detail.endswith(f"Have an administrator run: CREATE ROLE signalbox_app; {grant}")
    assert refused.value.detail.endswith(f"Have an administrator run: {grant}")
    await server.execute(grant)
    await server.close()
    await migrate(plain_dsn)
    database = Database(plain_dsn, size=2, name="test")
    await database.open()
    async with database.connection() as connection:
        left, right = await make_tenant(connection, "left"), await make_tenant(connection, "right")
        assert len(await connection.fetch("SELECT FROM tenants")) == 2
    async with database.for_tenant(right).transaction() as connection:
        assert [row["tenant_id"] for row in await connection.fetch("SELECT tenant_id FROM tenants")] == [right]
    assert left != right
    await database.close()
