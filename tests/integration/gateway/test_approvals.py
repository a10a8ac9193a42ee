"""Approvals over HTTP: they are listed, shown and decided once; the decision has reached the execution then."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.approvals import NewApproval, ask_approvals
from libs.common.db.signals import signals_of
from tests.factories import make_execution
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.test_access import slug_of

YES = {"decision": "approve"}


async def asked(world: World, seconds: float = 60) -> NewApproval:
    """An execution of acme that waits for an approval."""
    rows = await world.fetch("SELECT tenant_id, id FROM workflows LIMIT 1")
    if not rows:
        await world.made(workflow())
        rows = await world.fetch("SELECT tenant_id, id FROM workflows LIMIT 1")
    async with world.parts.database.connection() as connection:
        execution = await make_execution(connection, rows[0]["tenant_id"], rows[0]["id"], "waiting")
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        row = NewApproval(rows[0]["tenant_id"], new_id(), execution, 1, 0, "Refund?", "Order 7", expires)
        await ask_approvals(connection, [row])
    return row


async def ids(world: World, query: str = "", **more: str) -> list[str]:
    return [row["id"] for row in (await world.call("GET", f"/approvals{query}", **more)).json()["items"]]


async def test_it_is_shown_and_decided(acme: World) -> None:
    row = await asked(acme)
    shown = (await acme.call("GET", f"/approvals/{row.id}", role="viewer")).json()
    assert (shown["title"], shown["message"], shown["status"]) == ("Refund?", "Order 7", "pending")
    assert (shown["execution_id"], shown["decision"]) == (str(row.execution_id), None)
    body = {"decision": "reject", "comment": "No.\nToo much."}
    decided = await acme.call("POST", f"/approvals/{row.id}", body, X_User_ID="ada")
    assert decided.status_code == 200, decided.text
    assert decided.json() == (await acme.call("GET", f"/approvals/{row.id}")).json()
    assert (decided.json()["status"], decided.json()["actor"]) == ("rejected", "ada")
    async with acme.parts.database.connection() as connection:
        (signal,) = await signals_of(connection, [(row.tenant_id, row.execution_id)])
    assert (signal.kind, signal.position) == ("approval", 1)
    assert '"decision":"reject"' in signal.value


async def test_a_second_decision_and_a_late_one_are_conflicts(acme: World) -> None:
    row, late, ended = await asked(acme), await asked(acme, -1), await asked(acme)
    assert (await acme.call("POST", f"/approvals/{row.id}", YES)).status_code == 200
    assert (await acme.call("POST", f"/executions/{ended.execution_id}/cancel")).status_code == 200
    for approval in (row, late, ended):
        answer = await acme.call("POST", f"/approvals/{approval.id}", {"decision": "reject"})
        assert (answer.status_code, slug_of(answer)) == (409, "conflict")
    assert [(await acme.call("GET", f"/approvals/{one.id}")).json()["status"] for one in (row, late, ended)] == [
        "approved", "expired", "withdrawn"
    ]  # fmt: skip


async def test_lists_by_status_in_pages(acme: World) -> None:
    rows = [str((await asked(acme)).id) for _ in range(3)]
    await acme.call("POST", f"/approvals/{rows[1]}", YES)
    assert await ids(acme) == rows[::-1]
    assert (await ids(acme, "?status=pending"), await ids(acme, "?status=approved")) == ([rows[2], rows[0]], [rows[1]])
    first = (await acme.call("GET", "/approvals?status=pending&limit=1")).json()
    assert await ids(acme, f"?status=pending&limit=1&cursor={first['next_cursor']}") == [rows[0]]
    assert (await acme.call("GET", "/approvals?status=open")).json()["errors"][0]["path"] == "status"


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, ["decision"]),
        ({"decision": "maybe", "comment": 3, "by": "me"}, ["by", "decision", "comment"]),
        ({"decision": "approve", "comment": "a\0"}, ["comment"]),
        ({"decision": "approve", "comment": "x" * 4001}, ["comment"]),
    ],
)
async def test_bad_bodies_decide_nothing(acme: World, body: Any, paths: list[str]) -> None:
    row = await asked(acme)
    answer = await acme.call("POST", f"/approvals/{row.id}", body)
    assert (answer.status_code, [fault["path"] for fault in answer.json()["errors"]]) == (422, paths)
    assert await ids(acme, "?status=pending") == [str(row.id)]


async def test_who_may(acme: World) -> None:
    row = await asked(acme)
    assert (await acme.call("POST", f"/approvals/{row.id}", YES, role="viewer")).status_code == 403
    for method, body in (("GET", None), ("POST", YES)):
        assert (await acme.call(method, f"/approvals/{row.id}", body, slug="other")).status_code == 404
        assert (await acme.call(method, f"/approvals/{UUID(int=7)}", body)).status_code == 404
    assert await ids(acme, slug="other") == []
    assert await ids(acme, "?status=pending") == [str(row.id)]
