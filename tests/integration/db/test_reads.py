"""How much the hot statements and the sweeps read does not grow with the tables: on tables filled for several tenants
they open some dozen blocks of hundreds, by index, whether PostgreSQL plans for the arguments or for any.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from libs.common.clock import first_id_at, id_time, new_id
from libs.common.db.accepting import insert_accepted
from libs.common.db.announced import Announced, newest_announced, not_taken
from libs.common.db.api_keys import find_credential
from libs.common.db.approvals import NewApproval, ask_approvals, list_approvals
from libs.common.db.controlling import cancel_executions, pause_execution, resume_execution, wishes_for
from libs.common.db.event_ids import forget_old_event_ids
from libs.common.db.event_triggers import tenants_on_ends
from libs.common.db.event_views import find_event, list_events
from libs.common.db.event_waits import drop_event_waits, tell_waits
from libs.common.db.events import raise_events
from libs.common.db.execution_ends import load_ends
from libs.common.db.execution_views import (
    ExecutionFilter,
    find_execution,
    list_attempts,
    list_executions,
    list_workflow_executions,
)
from libs.common.db.executions import (
    change_executions,
    load_pending,
    load_records,
    release_executions_of,
    wake_due_executions,
)
from libs.common.db.idempotency import claim_key, forget_old_keys
from libs.common.db.jobs import JobFilter, OpenJob, claim_job, next_executions
from libs.common.db.live_states import changed_since, count_from, load_states, newest_ids, open_ids
from libs.common.db.pool import Connection, Database
from libs.common.db.rerunning import find_repeatable, repeat_execution
from libs.common.db.schedule_runs import Place as Schedule
from libs.common.db.schedule_runs import next_turns, open_runs
from libs.common.db.schedules import (
    Move,
    claim_due_schedules,
    keep_failing,
    lock_due_schedules,
    lock_free_schedules,
    lock_schedule,
    move_schedules_on,
    seconds_until_due,
)
from libs.common.db.signals import Place, Signal, send_signals, signals_of, wake_signalled
from libs.common.db.triggers import find_trigger, taken_slugs
from libs.common.db.webhook_calls import (
    CallAnswer,
    CallFilter,
    find_call,
    find_logged_call,
    known_calls,
    list_calls,
    load_replayable,
    note_answers,
    replayable_ids,
)
from libs.common.db.webhook_triggers import find_webhook_trigger, find_webhook_trigger_called
from libs.common.domain.events import Happening, NewEvent
from tests.factories import action_row, call_row, execution_change, make_tenant, make_workflow, new_execution
from tests.integration.db.statements import plan_of, statements

TENANTS, ROWS = 100, 20_000
BIG = (
    "executions", "action_executions", "signals", "event_waits", "approvals", "webhook_logs", "idempotency_keys",
    "events", "event_ids", "triggers",
)  # fmt: skip
MOST_BLOCKS = 120
"""Of all big tables and their indexes together. The rows of each alone fill more than twice as many."""
SEVERAL = {"cancel": 2 * MOST_BLOCKS}
"""What is several statements: what hangs on an execution that ends is looked for too."""

_FILL = """
WITH filled AS (
    INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, status, worker, wake_at, input, control,
                            finished_at)
    SELECT ($2::uuid[])[owner], uuidv7(make_interval(mins => -(n % 1400))), ($3::uuid[])[owner], 1, 'manual',
           CASE kind WHEN 0 THEN 'running' WHEN 1 THEN 'waiting' WHEN 2 THEN 'pending' ELSE 'completed' END,
           CASE kind WHEN 0 THEN gen_random_uuid() END,
           CASE kind WHEN 1 THEN 'infinity' WHEN 2 THEN now() + interval '1 hour' END::timestamptz,
           '{"text": "some input of some length"}', CASE WHEN kind = 0 AND n % 3 = 0 THEN 'pause' END,
           CASE WHEN kind > 2 THEN now() END
      FROM generate_series(1, $1::int) n,
           LATERAL (SELECT n / 2 % 10 AS kind, CASE n % 2 WHEN 0 THEN 1 ELSE 2 + n / 2 % ($4::int - 1) END AS owner) x
    RETURNING tenant_id, id, workflow_id),
acted AS (
    INSERT INTO action_executions (tenant_id, execution_id, position, attempt, key, type, status, output, started_at,
                                   finished_at)
    SELECT tenant_id, id, 0, 1, 'a', 'log', 'completed', '{"text": "some output"}', now(), now() FROM filled),
signalled AS (
    INSERT INTO signals (tenant_id, execution_id, position, kind, value)
    SELECT tenant_id, id, 0, 'event', '{"text": "what an action is told"}' FROM filled),
awaited AS (
    INSERT INTO event_waits (tenant_id, execution_id, position, event, scope)
    SELECT tenant_id, id, 0, 'order_' || id, '{"input": {"order": "some"}}' FROM filled),
asked AS (
    INSERT INTO approvals (tenant_id, id, execution_id, workflow_id, position, title, message, decided_at, decision)
    SELECT tenant_id, id, id, workflow_id, 0, 'Go on?', 'some message', now(), 'approve' FROM filled),
happened AS (
    INSERT INTO events (tenant_id, id, type, data, source, depth, started, told, outcomes)
    SELECT tenant_id, id, 'order_paid', '{"text": "some data"}', 'api', 0, 0, 0, '[]' FROM filled),
named AS (
    INSERT INTO event_ids (tenant_id, dedupe_id, request_hash, event_id)
    SELECT tenant_id, id::text, '\\x00', id FROM filled),
listened AS (
    INSERT INTO triggers (tenant_id, id, workflow_id, key, type, config, enabled)
    SELECT tenant_id, gen_random_uuid(), workflow_id, 'on_' || id, 'event',
           json_build_object('event', 'invoice_' || id), true FROM filled),
called AS (
    INSERT INTO webhook_logs (tenant_id, id, trigger_id, execution_id, outcome, status, method, query, headers, ip,
                              user_agent, microseconds)
    SELECT tenant_id, id, workflow_id, id, 'accepted', 202, 'POST', '', '{}', '203.0.113.7', 'test', 1 FROM filled),
keyed AS (
    INSERT INTO idempotency_keys (tenant_id, key, request_hash, execution_id)
    SELECT tenant_id, id::text, '\\x00', id FROM filled)
INSERT INTO triggers (tenant_id, id, workflow_id, key, type, config, enabled, next_run_at)
SELECT tenant_id, id, workflow_id, id::text, 'schedule', '{}', true, now() + interval '1 hour' FROM filled
"""
_READ = """
SELECT coalesce(sum(pg_stat_get_xact_blocks_fetched(c.oid)), 0)::int
  FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
  LEFT JOIN pg_inherits h ON h.inhrelid = coalesce(i.indrelid, c.oid)
 WHERE coalesce(h.inhparent, i.indrelid, c.oid) = ANY ($1::regclass[])
"""
_PAGES = "SELECT sum(relpages) FROM pg_class WHERE relkind = 'r' AND relname LIKE $1 || '%'"
_SAMPLE = """
SELECT w.tenant_id AS tenant, w.id AS workflow,
       (SELECT id FROM executions WHERE tenant_id = w.tenant_id AND status = 'completed' LIMIT 1) AS ended,
       (SELECT id FROM executions WHERE tenant_id = w.tenant_id AND status = 'pending' LIMIT 1) AS pending,
       (SELECT id FROM executions WHERE tenant_id = w.tenant_id AND control = 'pause' LIMIT 1) AS paused,
       (SELECT worker FROM executions WHERE status = 'running' LIMIT 1) AS worker
  FROM workflows w ORDER BY w.tenant_id LIMIT 1
"""

Ids = Mapping[str, UUID]


@pytest.fixture
async def filled(database: Database) -> Database:
    """Executions in every state, each with a record, a call, a key and a trigger; half of them of one tenant."""
    async with database.connection() as connection:
        tenants = [await make_tenant(connection, f"tenant-{number}") for number in range(TENANTS)]
        workflows = [await make_workflow(connection, tenant) for tenant in tenants]
        await connection.execute(_FILL, ROWS, tenants, workflows, TENANTS)
        await connection.execute("ANALYZE")
    return database


def job(at: Ids) -> OpenJob:
    return OpenJob(at["tenant"], new_id(), "cancel", "{}", UUID(int=2**128 - 1), None)


async def accept(connection: Connection, at: Ids) -> None:
    new = [new_execution(at["tenant"], at["workflow"]) for _ in range(3)]
    await insert_accepted(
        connection, [one.row() for one in new], [call_row(one.tenant_id, one.id, one.id) for one in new]
    )


async def take(connection: Connection, at: Ids) -> None:
    change = execution_change(at["tenant"], at["pending"], 1, claims=True, records=[action_row("started")])
    assert await change_executions(connection, new_id(), [change]) == {at["pending"]}


async def tell(connection: Connection, at: Ids) -> None:
    event = NewEvent(at["tenant"], new_id(), f"order_{at['pending']}", "{}", "api")
    assert await tell_waits(connection, [Happening(event, id_time(event.id))]) == {event.id: [at["pending"]]}


async def raise_one(connection: Connection, at: Ids) -> None:
    event = NewEvent(at["tenant"], new_id(), f"invoice_{at['pending']}", "{}", "api", dedupe_id=str(new_id()))
    (raised,) = await raise_events(connection, [event])
    assert len(raised.execution_ids) == 1


async def run_again(connection: Connection, at: Ids) -> None:
    kept = await repeat_execution(
        connection, at["tenant"], at["ended"], new_id=new_id(), version=1, input_json="{}", actor=None, traceparent="",
        actions=[(0, "a", "log")],
    )  # fmt: skip
    assert len(kept) == 1


HOT: dict[str, Callable[[Connection, Ids], Awaitable[object]]] = {
    "accept": accept,
    "claim an idempotency key": lambda c, at: claim_key(c, at["tenant"], str(at["ended"]), b"", new_id()),
    "take an execution and record": take,
    "load what is to be taken": lambda c, at: load_pending(c, [(at["tenant"], at["pending"])]),
    "load what was recorded": lambda c, at: load_records(c, [(at["tenant"], at["pending"])]),
    "signal what waits": lambda c, at: send_signals(c, [Signal(at["tenant"], at["pending"], 1, 0, "event", "{}")]),
    "load the signals": lambda c, at: signals_of(c, [(at["tenant"], at["pending"])]),
    "wake what was signalled": lambda c, at: wake_signalled(c, [Place(at["tenant"], at["paused"], 0, 0)]),
    "tell what waits for an event": tell,
    "raise an event": raise_one,
    "newest events": lambda c, at: list_events(
        c, at["tenant"], None, first_id=None, before_id=None, limit=20, offset=0
    ),
    "newest events of a type": lambda c, at: list_events(
        c, at["tenant"], "order_paid", first_id=None, before_id=at["ended"], limit=20, offset=0
    ),
    "show an event": lambda c, at: find_event(c, at["tenant"], at["ended"]),
    "forget old ids of events": lambda c, _: forget_old_event_ids(c),
    "no event is waited for": lambda c, at: drop_event_waits(c, [(at["tenant"], at["pending"])]),
    "ask for an approval": lambda c, at: ask_approvals(
        c, [NewApproval(at["tenant"], new_id(), at["pending"], 0, 0, "Go on?", "", None)]
    ),
    "open approvals": lambda c, at: list_approvals(c, at["tenant"], "pending", after=None, limit=20, offset=0),
    "newest approvals": lambda c, at: list_approvals(c, at["tenant"], None, after=None, limit=20, offset=0),
    "wishes for a worker": lambda c, at: wishes_for(c, at["worker"]),
    "free what the dead held": lambda c, at: release_executions_of(c, [at["worker"], new_id()]),
    "wake what is due": lambda c, _: wake_due_executions(c, 500, 0.0),
    "what was announced last": lambda c, _: newest_announced(c),
    "what of it is not taken": lambda c, at: not_taken(
        c, [Announced(at["tenant"], at["pending"], 0, datetime.now(UTC))]
    ),
    "forget old keys": lambda c, _: forget_old_keys(c),
    "due schedules": lambda c, _: claim_due_schedules(c, 100),
    "move schedules on": lambda c, at: move_schedules_on(c, [Move(at["tenant"], at["ended"], None, 0, None, None)]),
    "until a schedule is due": lambda c, _: seconds_until_due(c),
    "lock a schedule": lambda c, at: lock_schedule(c, at["tenant"], at["ended"]),
    "lock what is due of a workflow": lambda c, at: lock_due_schedules(c, at["tenant"], at["workflow"]),
    "lock schedules that nobody holds": lambda c, at: lock_free_schedules(c, [(at["tenant"], at["ended"])]),
    "what runs of a schedule": lambda c, at: open_runs(c, [Schedule(at["tenant"], at["ended"])]),
    "whose turn it is": lambda c, _: next_turns(c, 100),
    "who keeps failing": lambda c, at: keep_failing(c, [(at["tenant"], at["ended"], 3, None)]),
    "the next job": lambda c, _: claim_job(c),
    "the next executions of a job": lambda c, at: next_executions(c, job(at), JobFilter(("completed",)), 10),
    "find a webhook's trigger": lambda c, at: find_webhook_trigger(c, at["ended"]),
    "find a webhook's trigger by its slug": lambda c, _: find_webhook_trigger_called(c, "acme", "paid"),
    "which slugs are taken": lambda c, at: taken_slugs(c, at["tenant"], at["workflow"], ["paid", "push"]),
    "who listens to ends": lambda c, _: tenants_on_ends(c),
    "find a trigger": lambda c, at: find_trigger(c, at["tenant"], at["ended"]),
    "find a credential": lambda c, _: find_credential(c, b"unknown"),
    "show a call": lambda c, at: find_logged_call(c, at["tenant"], at["ended"]),
    "newest calls": lambda c, at: list_calls(c, at["tenant"], at["workflow"], CallFilter(), limit=20, offset=0),
    "calls to replay": lambda c, at: replayable_ids(c, at["tenant"], at["workflow"], CallFilter(), 20),
    "load calls to replay": lambda c, at: load_replayable(c, at["tenant"], [at["ended"]]),
    "how some have ended": lambda c, at: load_ends(c, [(at["tenant"], at["ended"]), (at["tenant"], at["pending"])]),
    "note an answer": lambda c, at: note_answers(c, [CallAnswer(at["tenant"], at["ended"], 200, "{}", 1)]),
    "which calls are known": lambda c, at: known_calls(c, [(at["tenant"], at["ended"])]),
    "find a call": lambda c, at: find_call(c, at["tenant"], at["ended"]),
    "cancel": lambda c, at: cancel_executions(c, at["tenant"], [at["pending"]]),
    "pause": lambda c, at: pause_execution(c, at["tenant"], at["pending"]),
    "resume": lambda c, at: resume_execution(c, at["tenant"], at["paused"]),
    "show an execution": lambda c, at: find_execution(c, at["tenant"], at["ended"]),
    "show its attempts": lambda c, at: list_attempts(c, at["tenant"], at["ended"], limit=50),
    "newest executions": lambda c, at: list_executions(
        c, at["tenant"], ExecutionFilter(), after=None, limit=20, offset=0
    ),
    "newest of a workflow": lambda c, at: list_workflow_executions(
        c, at["tenant"], at["workflow"], ExecutionFilter(), after=at["ended"], limit=20, offset=0
    ),
    "states of some": lambda c, at: load_states(c, at["tenant"], [at["ended"], at["pending"]]),
    "newest of a tenant": lambda c, at: newest_ids(c, at["tenant"], datetime.now(UTC) - timedelta(hours=1), 20),
    "open ones of a tenant": lambda c, at: open_ids(c, at["tenant"], 10),
    "how many since": lambda c, at: count_from(c, at["tenant"], UUID(int=0), 50),
    "changed since": lambda c, at: changed_since(
        c,
        at["tenant"],
        datetime.now(UTC),
        first_id_at(datetime.now(UTC) - timedelta(minutes=2)),
        workflow_id=None,
        execution_id=None,
        limit=20,
    ),
    "what would run again": lambda c, at: find_repeatable(c, at["tenant"], at["ended"]),
    "run again": run_again,
}


OVER_ALL_TENANTS = {
    "wishes for a worker", "free what the dead held", "wake what is due", "forget old keys", "forget old ids of events",
    "due schedules", "until a schedule is due", "whose turn it is", "the next job", "find a webhook's trigger",
    "find a credential",
}  # fmt: skip
"""What is never done in the role that sees one tenant."""
_AS_TENANT = "SELECT set_config('role', 'signalbox_app', true), set_config('signalbox.tenant_id', $1, true)"


async def read_by(
    connection: Connection, act: Callable[[Connection, Ids], Awaitable[object]], at: Ids, *, as_tenant: bool
) -> int:
    """Blocks of big tables and of their indexes that it opens; what it changes is taken back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        if as_tenant:
            await connection.execute(_AS_TENANT, str(at["tenant"]))
        before = await connection.fetchval(_READ, BIG)
        await act(connection, at)
        return await connection.fetchval(_READ, BIG) - before
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("as_tenant", [False, True])
async def test_hot_statements_and_sweeps_read_little_of_big_tables(filled: Database, as_tenant: bool) -> None:
    """Also behind the policy of the tenant, before which no index condition may come that could tell of other rows."""
    hot = {name: act for name, act in HOT.items() if not (as_tenant and name in OVER_ALL_TENANTS)}
    too_much: dict[tuple[str, str], int] = {}
    async with filled.connection() as connection:
        pages = {table: await connection.fetchval(_PAGES, table) for table in BIG}
        assert min(pages.values()) > 2 * MOST_BLOCKS, pages
        at = await connection.fetchrow(_SAMPLE)
        assert at is not None
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for name, act in hot.items():
                if (blocks := await read_by(connection, act, dict(at), as_tenant=as_tenant)) > SEVERAL.get(
                    name, MOST_BLOCKS
                ):
                    too_much[name, mode] = blocks
        await connection.execute("RESET plan_cache_mode")
    assert too_much == {}


async def test_no_statement_at_all_scans_a_big_table(filled: Database) -> None:
    scanned: set[tuple[str, str]] = set()
    async with filled.connection() as connection:
        for one in statements():
            for node in await plan_of(connection, one):
                table = str(node.get("Relation Name", ""))
                if node["Node Type"] == "Seq Scan" and table.startswith(BIG):
                    scanned.add((one.name, table))
    assert scanned == set()
