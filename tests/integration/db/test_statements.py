"""Every statement of the product as it stands: it prepares on the migrated schema, and whatever it reads or changes of
tenants' tables is bounded by the tenant, or it stands in a short list with its reason.
"""

import re
from typing import Any

from libs.common.db.pool import Connection, Database
from tests.integration.db.statements import plan_of, sent_otherwise, statements

ALL = statements()
_OVER_ALL_TENANTS = {
    "api_keys._FIND_CREDENTIAL": "the key says which tenant it speaks for",
    "webhook_triggers._FIND": "the trigger that a call names says whose it is",
    "webhook_triggers._FIND_CALLED": "the slug of a tenant says whose it is",
    "controlling._WISHES": "for what one worker runs, whosever it is",
    "deliveries._FORGET": "names that are out of date",
    "dispatching._BACKLOG": "the dispatcher's look at whose executions wait",
    "dispatching._OUTSTANDING": "the dispatcher's count over all tenants",
    "diseases._LAGGING": "the doctor looks at all tenants",
    "diseases._ORPHANS": "the same",
    "diseases._OVERDUE": "the same",
    "diseases._STRANDED": "the same; what could move each is looked for in its tenant",
    "event_ids._FORGET": "ids that are out of date",
    "event_triggers._ON_ENDS": "in which tenants something listens to ends",
    "event_waits._FORGET": "waits of executions that have ended",
    "announced._NEWEST": "one that was announced last, whosever it is: how far the bus has come",
    "executions._WAKE": "the scheduler's sweep",
    "executions._RELEASE_OF_DEAD": "what a dead worker held, whosever it is",
    "figures._BACKLOG": "for the metrics of the installation",
    "figures._OVERDUE_SCHEDULES": "the same",
    "figures._SLUGS": "the names of the platform's tenants, for the metrics",
    "idempotency._FORGET": "keys that are out of date",
    "local_results._FORGET": "what is out of date, whosever it is",
    "jobs._CLAIM": "the scheduler's next job; everything it does afterwards names the job's tenant",
    "resealing._OUTDATED_SECRETS": "what the operator's change of keys seals anew, of all tenants",
    "resealing._OUTDATED_TRIGGERS": "the same",
    "resealing._OUTDATED_DATA_KEYS": "the same",
    "sealed._SECRETS": "the doctor looks at all tenants",
    "sealed._TRIGGERS": "the same",
    "sealed._DATA_KEYS": "the same",
    "slots._WATCH": "the scheduler's round over the slots of all tenants",
    "audit._CALLED": "the platform's look-up of tenants by id or slug",
    "audit._FORGET": "rows past their time, whosever they are",
    "backfills._CLAIM": "the scheduler's next back-fill; everything it does afterwards names its tenant",
    "retention._FORGET_ASKED": "what goes with the day's executions",
    "schedule_gaps._CLAIM": "the scheduler's arrears of all tenants",
    "schedule_runs._FORGET": "what ran for triggers that are gone",
    "schedule_runs._NEXT_TURNS": "what waits for its turn, of all tenants",
    "schedules._CLAIM": "the scheduler's due schedules",
    "schedules._UNTIL_DUE": "when the scheduler has something to do next",
    "tenants._FIND_BY_SLUG": "a slug says which tenant it is",
    "metering._METER": "the hour of all tenants",
    "metering._EXPORT": "the platform's export of all tenants",
    "tenant_limits._ALL": "the scheduler's round over the limits of all tenants",
    "tenant_limits._TAKE_WARNINGS": "whom to warn, of all tenants",
    "tenant_limits._FORGET_WARNINGS": "warnings that are out of date",
    "tenants._LIST": "the platform's own list of its tenants",
}
_NOT_CONSTANT = {
    "isolation: statement": "two constants of the module",
    "isolation: row['guard']": "the policies of a table, which follow from its name and owner",
    "pool: begin": "whose transaction it is, by the digits of a UUID: SET takes no parameters",
    "migrate: sql": "a migration, read from its file",
    "record_search: text": "one of four constants of the module",
    "partitions: wanted[name]": "a partition's name and bounds follow from its day",
    "retention: looks_empty": "the same",
    "retention: locking": "the same",
    "retention: dropping": "the same",
    "whole_tenants: lines": "the tables are those of the schema, so none is forgotten; each by its tenant",
    "whole_tenants: some": "the same",
}
_BY_TENANT = re.compile(r"\btenant_id = ")
_TABLES = """
SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
 WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
"""


async def tables_of_tenants(connection: Connection) -> set[str]:
    """Every table with a tenant in its rows, partitions too."""
    return {row["name"] for row in await connection.fetch(_TABLES)}


def conditions(node: dict[str, Any]) -> str:
    """What holds for every row that a scan gives: the index condition, and a filter without alternatives."""
    texts = {name: str(text) for name, text in node.items()}
    return " ".join(text for name, text in texts.items() if name.endswith(("Cond", "Filter")) and " OR " not in text)


def test_every_statement_is_a_constant_that_these_tests_see() -> None:
    assert len(ALL) > 40
    assert sent_otherwise() == set(_NOT_CONSTANT)


async def test_every_statement_prepares(database: Database) -> None:
    failures: list[str] = []
    async with database.connection() as connection:
        for one in ALL:
            try:
                await connection.prepare(one.text)
            except Exception as error:  # noqa: BLE001 - all of them are wanted, by name
                failures.append(f"{one.name}: {error}")
    assert failures == []


async def test_every_statement_keeps_to_one_tenant(database: Database) -> None:
    """Read off the plans: each scan of a table that tenants share has a condition on the tenant."""
    unbounded: set[str] = set()
    async with database.connection() as connection:
        shared = await tables_of_tenants(connection)
        for one in ALL:
            for node in await plan_of(connection, one):
                is_scan = "Scan" in node["Node Type"] and node.get("Relation Name") in shared
                if is_scan and not _BY_TENANT.search(conditions(node)):
                    unbounded.add(one.name)
    assert len(shared) > 10
    assert unbounded == set(_OVER_ALL_TENANTS)
