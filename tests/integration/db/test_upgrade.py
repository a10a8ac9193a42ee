"""The release before works on with the present schema, and both understand each other's messages: that is what lets an
upgrade replace processes one by one.
"""

from base64 import b64decode
from uuid import UUID

import msgspec
import pytest

from libs.common.bus.messages import Snapshot, decode, decode_snapshot
from libs.common.db.pool import Database
from tests.integration.db.release import example_message, faults_of, latest

RELEASE = latest()

ARGUED = {
    "new guard: events: CHECK ((source = ANY": "lets in one more source, `limit`; all that it let in before",
    "guard gone: events: CHECK ((source = ANY": "the same: it is the narrower one",
}
"""Faults by their beginning that a person has judged to be none, and why."""

BREAKING = {
    "ALTER TABLE executions DROP COLUMN actor": 'column "actor"',
    "ALTER TABLE api_keys RENAME TO keys": 'relation "api_keys" does not exist',
    "ALTER TABLE workflows ALTER COLUMN version TYPE bigint": "workflows.version is bigint, was integer",
    "ALTER TABLE workflows ADD COLUMN colour text NOT NULL": "workflows.colour must be given",
    "ALTER TABLE executions ALTER COLUMN actor SET NOT NULL": "executions.actor must be given",
    "ALTER TABLE workflows ADD CHECK (length(name) < 10)": "new guard: workflows: CHECK ((length(name) < 10))",
    "CREATE UNIQUE INDEX ON tenants (name)": "new guard: tenants: UNIQUE btree (name)",
    "ALTER TABLE backfills DROP CONSTRAINT backfills_pkey": "guard gone: backfills: ",
}
HARMLESS = (
    "ALTER TABLE workflows ADD COLUMN colour text",
    "ALTER TABLE workflows ADD COLUMN colour text NOT NULL DEFAULT 'red'",
    "CREATE TABLE colours (tenant_id uuid NOT NULL, name text NOT NULL UNIQUE)",
    "ALTER TABLE workflows ADD COLUMN colour int NOT NULL DEFAULT 1 CHECK (colour < 9)",
    "CREATE INDEX ON workflows (name)",
)


def not_argued(faults: list[str]) -> list[str]:
    """Those that nobody has judged."""
    return [one for one in faults if not one.startswith(tuple(ARGUED))]


async def faults_after(database: Database, change: str) -> list[str]:
    """What a change of the schema, which is taken back, would break."""
    async with database.connection() as connection:
        trial = connection.transaction()
        await trial.start()
        try:
            await connection.execute(change)
            return not_argued(await faults_of(RELEASE, connection))
        finally:
            await trial.rollback()


async def test_the_release_before_works_on_with_the_present_schema(database: Database) -> None:
    async with database.connection() as connection:
        faults = await faults_of(RELEASE, connection)
    assert not_argued(faults) == []
    assert len(faults) == len(ARGUED), "what is argued is there, once"
    assert len(RELEASE.statements) > 100


@pytest.mark.parametrize(("change", "fault"), BREAKING.items())
async def test_a_migration_that_the_release_before_would_not_bear_is_found(
    database: Database, change: str, fault: str
) -> None:
    faults = await faults_after(database, change)
    assert any(fault in one for one in faults), faults


async def test_what_only_adds_is_no_fault(database: Database) -> None:
    for change in HARMLESS:
        assert await faults_after(database, change) == []


def test_messages_of_the_release_before_are_understood() -> None:
    (ready,) = decode(b64decode(RELEASE.message)).items
    assert (ready.tenant_id, ready.execution_id, ready.epoch, ready.workflow_id, ready.version) == (
        UUID(int=1), UUID(int=4), 0, UUID(int=2), 3
    )  # fmt: skip
    expected = Snapshot(UUID(int=3), "in", "webhook", b'{"a":1}', "ann")
    assert decode_snapshot(ready.snapshot) == expected
    assert ready.traceparent.startswith("00-aaaa")


def test_messages_of_the_present_are_understood_by_the_release_before() -> None:
    """It reads as many fields as it knows, so ours begin with its own; another schema number it would refuse."""
    theirs, ours = [msgspec.msgpack.decode(body) for body in (b64decode(RELEASE.message), example_message())]
    assert (ours["type"], ours["schema"]) == (theirs["type"], theirs["schema"])
    ((*before, their_snapshot, their_trace), (*now, our_snapshot, our_trace)) = [
        message["items"][0][: len(theirs["items"][0])] for message in (theirs, ours)
    ]
    assert (now, our_trace) == (before, their_trace)
    known = msgspec.msgpack.decode(their_snapshot)
    assert msgspec.msgpack.decode(our_snapshot)[: len(known)] == known
