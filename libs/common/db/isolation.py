"""Tenants are kept apart by PostgreSQL itself: row-level security, forced, on every table whose rows belong to one.

    role           used for                                                         sees
    signalbox_app  whatever is done for one tenant (`Database.for_tenant`)          the rows of the transaction's tenant
    service role   what comes before the tenant is known, batches, partitions: the  all rows; its queries name the
                   role that logs in, which owns the tables                         tenant themselves

Part of every start, after the migrations: a table that any release has made is guarded, also in a database that was
restored elsewhere. What is right already costs two look-ups. The role sees nothing while no tenant is set, has no
right to a partition (which would be a way around the policy of its table), and none to tables without tenants.
"""

from contextlib import suppress

import asyncpg

from libs.common.db.pool import APP_ROLE, Connection
from libs.common.errors import OperatorError

_IS_STRONG = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = 'signalbox_app'"
_MAKE_ROLE = "CREATE ROLE signalbox_app"
_BECOME = "SET ROLE signalbox_app; RESET ROLE"
_JOIN = "GRANT signalbox_app TO CURRENT_USER"
_LOGIN = "SELECT current_user"

_BY_OTHERS = (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError)
"""Somebody who brings another database of the same server up to date was faster."""


async def isolate_tenants(connection: Connection) -> list[str]:
    """Every table of tenants is guarded; returns the names of those that were not. Raises `OperatorError` when the
    role `signalbox_app` is missing or useless and we may not mend that.
    """
    await _ensure_role(connection)
    await connection.execute(_USE_SCHEMA)
    unguarded = await connection.fetch(_UNGUARDED)
    for row in unguarded:
        async with connection.transaction():  # one table at a time: nobody waits for more than one lock of ours
            await connection.execute(row["guard"])
    return [row["name"] for row in unguarded]


async def _ensure_role(connection: Connection) -> None:
    is_strong = await connection.fetchval(_IS_STRONG)
    if is_strong:
        raise OperatorError(f"The database role {APP_ROLE} is a superuser or has BYPASSRLS; it must be neither.")
    try:
        if is_strong is None:
            await _unless_done(connection, _MAKE_ROLE)
        try:
            await connection.execute(_BECOME)
        except asyncpg.InsufficientPrivilegeError:
            await _unless_done(connection, _JOIN)
            await connection.execute(_BECOME)
    except asyncpg.InsufficientPrivilegeError:
        login = await connection.fetchval(_LOGIN)
        wanted = f"CREATE ROLE {APP_ROLE}; " if is_strong is None else ""
        raise OperatorError(
            f"The database role {login} may not act as {APP_ROLE}, which keeps tenants apart. "
            f'Have an administrator run: {wanted}GRANT {APP_ROLE} TO "{login}";'
        ) from None


async def _unless_done(connection: Connection, statement: str) -> None:
    with suppress(*_BY_OTHERS):
        await connection.execute(statement)


_USE_SCHEMA = """
DO $$ DECLARE home regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = 'tenants'::regclass); BEGIN
    IF NOT has_schema_privilege('signalbox_app', home::oid, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO signalbox_app', home);
    END IF;
END $$
"""

# An expression, not a function: it becomes an index condition and prunes partitions. After a transaction the setting is
# '', not null. Of tenants themselves only the data key is written: the platform makes and changes them. The audit log
# is added to; usage and warnings are the scheduler's to write.
_UNGUARDED = """
WITH tables AS (
    SELECT c.oid, c.relname AS name, c.relowner AS owner, c.relrowsecurity AND c.relforcerowsecurity AS is_forced,
           CASE c.relname WHEN 'tenants' THEN 'SELECT, UPDATE (data_key)'
                          WHEN 'audit_log' THEN 'SELECT, INSERT'
                          WHEN 'usage' THEN 'SELECT' WHEN 'limit_warnings' THEN 'SELECT'
                          ELSE 'SELECT, INSERT, UPDATE, DELETE' END AS rights
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'tenants'::regclass)),
guarded AS (
    SELECT t.oid FROM tables t
     WHERE t.is_forced AND has_table_privilege('signalbox_app', t.oid, 'SELECT')
       AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname = 'tenant'
                      AND p.polroles = ARRAY['signalbox_app'::regrole::oid])
       AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname = 'service'
                      AND p.polroles = ARRAY[t.owner]))
SELECT name, format($guard$
           DROP POLICY IF EXISTS tenant ON %1$I;
           CREATE POLICY tenant ON %1$I TO signalbox_app
               USING (tenant_id = nullif(current_setting('signalbox.tenant_id', true), '')::uuid);
           DROP POLICY IF EXISTS service ON %1$I;
           CREATE POLICY service ON %1$I TO %2$I USING (true);
           ALTER TABLE %1$I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
           GRANT %3$s ON %1$I TO signalbox_app$guard$, name, pg_get_userbyid(owner), rights) AS guard
  FROM tables WHERE oid NOT IN (SELECT oid FROM guarded) ORDER BY name
"""
