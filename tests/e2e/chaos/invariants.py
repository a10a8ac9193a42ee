"""What has to be true of an installation after any bad day: one checker, and all of its SQL.

Each law is a question to the database whose answer is what breaks it, over everything that was ever done there, so that
no answer is a good one. What only the outside knows (what was answered 202, what the endpoint was asked and when, which
texts are secret) is put beside the tables first. The laws are those of the design notes on reliability, 7.1.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection

SESSIONS = 10
"""PostgreSQL connections of one service at most: its pool, and what it opens beside it now and then."""


class Seen(msgspec.Struct, frozen=True):
    """What the outside has seen.

    `accepted`: executions that were promised; `calls` and `latest`: how often and when last the endpoint was asked, by
    `Idempotency-Key`; `canaries`: a text of each tenant's that no other tenant may see; `secrets`: texts that stand in
    no record; `dead` and `planted`: messages among the dead letters, and how many had to be; `services`: processes;
    `one_clock`: whether what services wrote down can be compared with our clock; `frozen`: whether a process stood
    still for longer than a lease, which may then send what it was about to send.
    """

    accepted: Sequence[UUID] = ()
    calls: Mapping[str, int] = {}
    latest: Mapping[str, datetime] = {}
    canaries: Mapping[str, str] = {}
    secrets: Sequence[str] = ()
    dead: int = 0
    planted: int = 0
    services: int = 4
    one_clock: bool = True
    frozen: bool = False


class Law(NamedTuple):
    """`breaks`: SQL for what breaks it; `by_clock`: it compares times of different machines."""

    breaks: str
    by_clock: bool = False


LAWS: Mapping[str, Law] = {
    # 1. Accepted is stored, once.
    "what was answered 202 has its execution": Law("""
        SELECT s.id FROM seen_accepted s LEFT JOIN executions e ON e.id = s.id WHERE e.id IS NULL"""),
    "no call has two executions": Law("""
        SELECT trigger_id, input->'body'->>'number' AS number, count(*) FROM executions
         WHERE trigger_type = 'webhook' AND input->'body'->>'number' IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1"""),
    "a call that was taken is logged once, with its execution": Law("""
        SELECT e.id, w.execution_id, w.logs FROM (SELECT * FROM executions WHERE trigger_type = 'webhook') e
          FULL JOIN (SELECT tenant_id, execution_id, count(*) AS logs FROM webhook_logs
                      WHERE execution_id IS NOT NULL GROUP BY 1, 2) w
            ON w.tenant_id = e.tenant_id AND w.execution_id = e.id
         WHERE e.id IS NULL OR w.logs IS DISTINCT FROM 1"""),
    # 2. Everything ends, once.
    "everything has ended, or waits for something that can come": Law("""
        SELECT id, status, wake_at FROM executions e
         WHERE finished_at IS NULL AND (status = 'waiting' AND (
               wake_at > now() AND wake_at < 'infinity' OR control = 'pause'
            OR EXISTS (SELECT FROM event_waits w WHERE w.tenant_id = e.tenant_id AND w.execution_id = e.id)
            OR EXISTS (SELECT FROM approvals a
                        WHERE a.tenant_id = e.tenant_id AND a.execution_id = e.id AND a.decided_at IS NULL)
            OR EXISTS (SELECT FROM concurrency_slots s
                        WHERE s.tenant_id = e.tenant_id AND s.execution_id = e.id AND s.state = 'queued')
            OR EXISTS (SELECT FROM executions c
                        WHERE c.tenant_id = e.tenant_id AND c.parent_id = e.id AND c.finished_at IS NULL)
           )) IS NOT TRUE"""),
    "what has ended is written no more": Law("SELECT * FROM witness.rewritten"),
    # 3. Attempts and their order.
    "attempts are numbered from 1 without a hole": Law("""
        SELECT execution_id, key, iteration, array_agg(attempt ORDER BY attempt) FROM action_executions
         GROUP BY 1, 2, 3 HAVING min(attempt) <> 1 OR max(attempt) <> count(*)"""),
    "no more attempts than the maximum, those in doubt apart": Law("""
        WITH tried AS MATERIALIZED (
            SELECT tenant_id, execution_id, key, iteration, count(*) FILTER (WHERE status <> 'unknown') AS attempts
              FROM action_executions GROUP BY 1, 2, 3, 4 HAVING count(*) FILTER (WHERE status <> 'unknown') > 1)
        SELECT t.execution_id, t.key, t.attempts FROM tried t
          JOIN executions e ON e.tenant_id = t.tenant_id AND e.id = t.execution_id
          JOIN workflow_versions v ON v.tenant_id = e.tenant_id AND v.workflow_id = e.workflow_id
           AND v.version = e.version
         WHERE t.attempts > coalesce((jsonb_path_query_first(v.definition::jsonb,
               'strict $.** ? (@.key == $key && exists(@.type))', jsonb_build_object('key', t.key))
               #>> '{retry,max_attempts}')::int, 1)"""),
    "only the last attempt of an action completes it": Law("""
        SELECT a.execution_id, a.key, a.attempt, a.status FROM action_executions a
         WHERE a.status NOT IN ('failed', 'unknown') AND EXISTS (
               SELECT FROM action_executions b
                WHERE b.tenant_id = a.tenant_id AND b.execution_id = a.execution_id AND b.position = a.position
                  AND b.iteration = a.iteration AND b.attempt > a.attempt)"""),
    "nothing is open in what has ended": Law("""
        SELECT a.execution_id, a.key, a.status FROM action_executions a
          JOIN executions e ON e.tenant_id = a.tenant_id AND e.id = a.execution_id
         WHERE e.finished_at IS NOT NULL AND a.status IN ('started', 'waiting')"""),
    "what has completed has a record of each of its actions": Law("""
        SELECT e.id, e.total, count(DISTINCT a.position) FROM executions e
          LEFT JOIN action_executions a ON a.tenant_id = e.tenant_id AND a.execution_id = e.id
         WHERE e.status = 'completed' GROUP BY e.tenant_id, e.id, e.total
        HAVING count(DISTINCT a.position) < e.total"""),
    "actions in a row begin when the one before has ended": Law("""
        WITH spans AS MATERIALIZED (
            SELECT a.execution_id, a.position, min(a.started_at) AS begins, max(a.finished_at) AS ends
              FROM action_executions a JOIN executions e ON e.tenant_id = a.tenant_id AND e.id = a.execution_id
              JOIN workflow_versions v ON v.tenant_id = e.tenant_id AND v.workflow_id = e.workflow_id
               AND v.version = e.version AND v.definition::text !~ '"(needs|actions)".*"(needs|actions)"'
             GROUP BY a.tenant_id, a.execution_id, a.position)
        SELECT * FROM (
            SELECT execution_id, position, ends, lead(begins) OVER (PARTITION BY execution_id ORDER BY position) AS next
              FROM spans) rows WHERE next < ends""", by_clock=True),
    # 4. Effects.
    "no effect without its record, nor more often than on record": Law("""
        SELECT s.key, s.calls, count(a.attempt) FROM seen_effects s
          LEFT JOIN action_executions a ON a.execution_id = split_part(s.key, ':', 1)::uuid
           AND a.key = split_part(s.key, ':', 2) AND a.iteration = split_part(s.key, ':', 3)::int
         GROUP BY s.key, s.calls HAVING count(a.attempt) < s.calls"""),
    "what is recorded as completed was done": Law("""
        SELECT a.execution_id, a.key FROM action_executions a
         WHERE a.type = 'http_request' AND a.status = 'completed' AND NOT EXISTS (
               SELECT FROM seen_effects s WHERE s.key = a.execution_id || ':' || a.key || ':' || a.iteration)"""),
    "nothing that completed was done again": Law("""
        SELECT s.key, s.latest, a.finished_at FROM seen_effects s
          JOIN action_executions a ON a.execution_id = split_part(s.key, ':', 1)::uuid
           AND a.key = split_part(s.key, ':', 2) AND a.iteration = split_part(s.key, ':', 3)::int
         WHERE a.status = 'completed' AND s.latest > a.finished_at AND NOT (
               (SELECT frozen FROM seen_messages) AND EXISTS (
               SELECT FROM action_executions u
                WHERE u.tenant_id = a.tenant_id AND u.execution_id = a.execution_id AND u.position = a.position
                  AND u.iteration = a.iteration AND u.status = 'unknown'))""", by_clock=True),
    # 5. Nothing is left over.
    "dead letters are those that were planted": Law("SELECT * FROM seen_messages WHERE dead <> planted"),
    "who holds an execution is alive": Law("""
        SELECT e.id, e.worker, w.beat_at FROM executions e LEFT JOIN workers w ON w.id = e.worker
         WHERE e.worker IS NOT NULL AND (w.id IS NULL OR w.beat_at < now() - interval '10 s')"""),
    "slots are held by the living, and no more than there are": Law("""
        SELECT s.key, min(s.capacity) AS capacity, count(*) AS held, count(*) FILTER (WHERE e.id IS NULL) AS dead
          FROM concurrency_slots s LEFT JOIN executions e
            ON e.tenant_id = s.tenant_id AND e.id = s.execution_id AND e.finished_at IS NULL
         WHERE s.state = 'held' GROUP BY s.tenant_id, s.workflow_id, s.key
        HAVING count(*) > max(s.capacity) OR bool_or(e.id IS NULL)"""),
    "who has ended waits for no event": Law("""
        SELECT w.execution_id, w.event FROM event_waits w
          JOIN executions e ON e.tenant_id = w.tenant_id AND e.id = w.execution_id
         WHERE e.finished_at IS NOT NULL"""),
    "no timer is overdue": Law("""
        SELECT 'execution' AS kind, id, wake_at FROM executions WHERE wake_at < now() - interval '5 s'
        UNION ALL
        SELECT 'schedule', id, next_run_at FROM triggers WHERE enabled AND next_run_at < now() - interval '5 s'"""),
    # 6. The ledger.
    "every slot is in the ledger": Law("""
        SELECT trigger_id, planned_at, step FROM (
            SELECT f.trigger_id, f.planned_at, (t.config->>'seconds')::float8 AS period,
                   f.planned_at - lag(f.planned_at) OVER (PARTITION BY f.tenant_id, f.trigger_id
                                                          ORDER BY f.planned_at) AS step
              FROM firings f JOIN triggers t ON t.tenant_id = f.tenant_id AND t.id = f.trigger_id
             WHERE f.kind = 'slot' AND t.config->>'type' = 'interval') steps
         WHERE step <> make_interval(secs => period)"""),
    "no slot waits for its outcome": Law("""
        SELECT trigger_id, from_at AS planned_at FROM schedule_gaps
        UNION ALL
        SELECT trigger_id, planned_at FROM firings f WHERE outcome IS NULL AND NOT EXISTS (
               SELECT FROM schedule_runs r
                WHERE r.tenant_id = f.tenant_id AND r.trigger_id = f.trigger_id AND r.waits)"""),
    "the executions of schedules are those of the ledger": Law("""
        SELECT f.trigger_id, f.planned_at, f.outcome, f.execution_id, e.id FROM firings f
          FULL JOIN (SELECT * FROM executions WHERE trigger_type = 'schedule') e
            ON e.tenant_id = f.tenant_id AND e.id = f.execution_id
         WHERE f.planned_at IS NULL
            OR (f.outcome IN ('fired', 'late', 'caught_up')) IS DISTINCT FROM (e.id IS NOT NULL)
            OR e.trigger_id <> f.trigger_id OR (e.input->>'scheduled_for')::timestamptz <> f.planned_at"""),
    # 7. and 8. Tenants and secrets.
    "no record of a tenant holds what is another's": Law("""
        SELECT e.tenant_id, e.id, s.text FROM seen_canaries s JOIN tenants o ON o.slug = s.slug
          JOIN executions e ON e.tenant_id <> o.tenant_id
           AND strpos(concat(e.input::text, e.output::text, e.error::text), s.text) > 0
        UNION ALL
        SELECT a.tenant_id, a.execution_id, s.text FROM seen_canaries s JOIN tenants o ON o.slug = s.slug
          JOIN action_executions a ON a.tenant_id <> o.tenant_id
           AND strpos(concat(a.input::text, a.output::text, a.error::text), s.text) > 0"""),
    "no record holds a secret": Law("""
        SELECT 'execution' AS kind, e.id FROM executions e JOIN seen_secrets s
            ON strpos(concat(e.input::text, e.output::text, e.error::text), s.text) > 0
        UNION ALL
        SELECT 'action', a.execution_id FROM action_executions a JOIN seen_secrets s
            ON strpos(concat(a.input::text, a.output::text, a.error::text, a.state::text), s.text) > 0
        UNION ALL
        SELECT 'webhook log', w.id FROM webhook_logs w JOIN seen_secrets s
            ON strpos(concat(w.headers::text, w.query, w.answer::text), s.text) > 0"""),
    # 9. Bounds.
    "services keep a bounded number of sessions, and no transaction open": Law("""
        SELECT application_name, count(*) AS sessions, now() - min(xact_start) AS oldest FROM pg_stat_activity
         WHERE application_name LIKE 'signalbox-%' AND datname = current_database()
         GROUP BY 1 HAVING count(*) > (SELECT sessions FROM seen_messages) OR min(xact_start) < now() - interval '10 s'
        """),
}  # fmt: skip

_BESIDE = """
CREATE TEMP TABLE IF NOT EXISTS seen_accepted (id uuid);
CREATE TEMP TABLE IF NOT EXISTS seen_effects (key text, calls int, latest timestamptz);
CREATE TEMP TABLE IF NOT EXISTS seen_canaries (slug text, text text);
CREATE TEMP TABLE IF NOT EXISTS seen_secrets (text text);
CREATE TEMP TABLE IF NOT EXISTS seen_messages (dead int, planted int, sessions int, frozen boolean);
TRUNCATE seen_accepted, seen_effects, seen_canaries, seen_secrets, seen_messages;
"""
_REFERENCES = """
SELECT r.relname AS name, a.attname AS column, t.relname AS target FROM pg_class r
  JOIN pg_attribute o ON o.attrelid = r.oid AND o.attname = 'tenant_id'
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname IN ('execution_id', 'workflow_id', 'trigger_id', 'parent_id')
  JOIN pg_class t ON t.relnamespace = r.relnamespace AND NOT t.relispartition AND t.relname =
       CASE a.attname WHEN 'parent_id' THEN 'executions' ELSE replace(a.attname, '_id', 's') END
 WHERE r.relkind IN ('r', 'p') AND NOT r.relispartition AND r.relnamespace = 'public'::regnamespace
"""
_TENANT_TABLES = """
SELECT r.relname AS name FROM pg_class r JOIN pg_attribute o ON o.attrelid = r.oid AND o.attname = 'tenant_id'
 WHERE r.relkind IN ('r', 'p') AND NOT r.relispartition AND r.relnamespace = 'public'::regnamespace
"""
_LARGE = ("executions", "action_executions", "webhook_logs", "firings")
"""Grown so much within seconds that PostgreSQL would still plan for a few rows."""
_SOME_TENANTS = "SELECT tenant_id FROM tenants ORDER BY random() LIMIT 2"
FOREIGN = "no row points into another tenant"
SHOWN = "the role of tenants shows one tenant's rows"


async def broken_laws(connection: Connection, seen: Seen) -> dict[str, list[Any]]:
    """What breaks each broken law, five examples at most; empty when all is well. The database is watched."""
    await _put_beside(connection, seen)
    broken: dict[str, list[Any]] = {}
    for name, law in LAWS.items():
        if seen.one_clock or not law.by_clock:
            broken[name] = await connection.fetch(f"SELECT * FROM ({law.breaks}) found LIMIT 5")
    broken[FOREIGN] = await _foreign_rows(connection)
    broken[SHOWN] = await _rows_shown(connection)
    return {name: [tuple(row) for row in rows] for name, rows in broken.items() if rows}


async def _put_beside(connection: Connection, seen: Seen) -> None:
    await connection.execute(_BESIDE)
    tables: dict[str, list[tuple[Any, ...]]] = {
        "seen_accepted": [(one,) for one in seen.accepted],
        "seen_effects": [(key, calls, seen.latest[key]) for key, calls in seen.calls.items()],
        "seen_canaries": list(seen.canaries.items()),
        "seen_secrets": [(one,) for one in seen.secrets],
        "seen_messages": [(seen.dead, seen.planted, SESSIONS * seen.services, seen.frozen)],
    }
    for name, rows in tables.items():
        await connection.copy_records_to_table(name, records=rows)
    await connection.execute(f"ANALYZE {', '.join([*tables, *_LARGE])}")


async def _foreign_rows(connection: Connection) -> list[Any]:
    """Rows whose execution, workflow or trigger is another tenant's."""
    found: list[Any] = []
    for name, column, target in await connection.fetch(_REFERENCES):
        found += await connection.fetch(
            f"SELECT '{name}', r.{column} FROM {name} r JOIN {target} t ON t.id = r.{column}"
            " WHERE t.tenant_id <> r.tenant_id LIMIT 5"
        )
    return found


async def _rows_shown(connection: Connection) -> list[Any]:
    """Tables in which a tenant sees rows of others, by the role that the gateway uses."""
    tables = [row["name"] for row in await connection.fetch(_TENANT_TABLES)]
    found: list[Any] = []
    for (tenant,) in await connection.fetch(_SOME_TENANTS):
        looking = connection.transaction()
        await looking.start()
        await connection.execute(f"SET LOCAL ROLE signalbox_app; SET LOCAL signalbox.tenant_id = '{tenant.hex}'")
        for name in tables:
            others = await connection.fetchval(f"SELECT count(*) FROM {name} WHERE tenant_id <> '{tenant}'")
            found += [(name, tenant, others)] if others else []
        await looking.rollback()  # also the role, should this be a part of a longer transaction
    return found
