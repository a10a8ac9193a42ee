"""The tenant's queue and why an execution waits, through the API."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.clock import new_id
from libs.common.db.approvals import NewApproval, ask_approvals
from libs.common.db.concurrency import Entry, enter
from libs.common.db.dispatching import Ticket, hold_executions, release_held
from libs.common.db.event_waits import EventWait, add_event_waits
from tests.factories import action_row, make_execution
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow


async def tenant_of(world: World) -> UUID:
    (row,) = await world.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    return row["tenant_id"]


async def why(world: World, execution_id: object, **more: str) -> Any:
    answer = await world.call("GET", f"/executions/{execution_id}/why-waiting", role="viewer", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def held(world: World, workflow_id: UUID, number: int, **more: Any) -> list[UUID]:
    tenant = await tenant_of(world)
    async with world.parts.database.connection() as connection:
        ids = [await make_execution(connection, tenant, workflow_id, **more) for _ in range(number)]
        await hold_executions(connection, [Ticket(tenant, one, 0) for one in ids])
    return ids


async def test_the_queue_by_workflow_and_priority(acme: World) -> None:
    first, second = [UUID((await acme.made(workflow(name)))["id"]) for name in ("One", "Two")]
    await held(acme, first, 3)
    (high,) = await held(acme, second, 1, priority=4)
    tenant = await tenant_of(acme)
    async with acme.parts.database.connection() as connection:
        await make_execution(connection, tenant, first)
        await make_execution(connection, tenant, first, "running", worker=new_id())
        await make_execution(connection, tenant, first, "waiting")
    shown = (await acme.call("GET", "/queue", role="viewer")).json()
    parts = shown.pop("parts")
    assert shown == {"window": 2000, "weight": 1, "running": 1, "ready": 1, "waiting": 4}
    assert [(part["workflow_id"], part["priority"], part["waiting"]) for part in parts] == [
        (str(second), 4, 1), (str(first), 0, 3),
    ]  # fmt: skip
    assert all(part["oldest_at"].endswith("Z") for part in parts)
    others = (await acme.call("GET", "/queue", slug="other")).json()
    assert (others["waiting"], others["running"], others["ready"], others["parts"]) == (0, 0, 0, [])
    assert (await acme.call("GET", f"/executions/{high}/why-waiting", slug="other")).status_code == 404
    assert (await acme.call("GET", f"/executions/{new_id()}/why-waiting")).status_code == 404


async def test_the_window_holds_it_with_its_place_and_an_estimate(acme: World) -> None:
    made = UUID((await acme.made(workflow()))["id"])
    tenant = await tenant_of(acme)
    await acme.fetch("UPDATE tenants SET run_window = 2 WHERE tenant_id = $1", tenant)
    async with acme.parts.database.connection() as connection:
        for _ in range(2):
            await make_execution(connection, tenant, made)
    ids = await held(acme, made, 3)
    (high,) = await held(acme, made, 1, priority=1)
    (limit,) = (await why(acme, ids[2]))["limits"]
    assert limit == {
        "limit": "window", "message": "2 executions of the tenant are under way, of at most 2", "place": 4,
        "priority": 0,
    }  # fmt: skip
    assert (await why(acme, high))["limits"][0]["place"] == 1
    async with acme.parts.database.connection() as connection:
        ended = [await make_execution(connection, tenant, made, "completed") for _ in range(4)]
    await acme.fetch("UPDATE executions SET finished_at = finished_at - interval '2 s' WHERE id = ANY($1)", ended[:3])
    last = await held(acme, made, 4)
    async with acme.parts.database.connection() as connection:
        await release_held(connection, [(tenant, 4)], 0)
    (limit,) = (await why(acme, last[3]))["limits"]
    assert limit["place"] == 4
    estimate = msgspec.convert(limit["estimated_start"], type=type(acme.clock.now()), strict=False)
    assert timedelta(seconds=1) < estimate - acme.clock.now() < timedelta(seconds=4), "two ended in a second"
    await acme.fetch("UPDATE tenants SET run_window = NULL WHERE tenant_id = $1", tenant)
    assert (await why(acme, last[3]))["limits"][0]["limit"] == "budget"


async def test_what_is_ready_runs_or_has_ended(acme: World) -> None:
    made, tenant = UUID((await acme.made(workflow()))["id"]), await tenant_of(acme)
    async with acme.parts.database.connection() as connection:
        ready = await make_execution(connection, tenant, made)
        running = await make_execution(connection, tenant, made, "running", worker=new_id())
        ended = await make_execution(connection, tenant, made, "completed")
        parked = await make_execution(connection, tenant, made, "waiting")
    assert [limit["limit"] for limit in (await why(acme, ready))["limits"]] == ["bus"]
    assert await why(acme, running) == {"execution_id": str(running), "status": "running", "limits": []}
    assert (await why(acme, ended))["limits"] == []
    assert [limit["limit"] for limit in (await why(acme, parked))["limits"]] == ["timer"]
    assert (await acme.call("POST", f"/executions/{parked}/pause")).status_code == 200
    assert [limit["limit"] for limit in (await why(acme, parked))["limits"]] == ["pause"]


async def test_actions_that_wait_say_for_what_and_until_when(acme: World) -> None:
    made, tenant = UUID((await acme.made(workflow()))["id"]), await tenant_of(acme)
    child, approval = new_id(), new_id()
    later = acme.clock.now() + timedelta(hours=1)
    states: dict[int, dict[str, str] | None] = {
        0: None, 1: {"for": "event"}, 2: {"for": "execution", "execution_id": str(child)},
        3: {"for": "approval", "approval_id": str(approval)},
    }  # fmt: skip
    records = [
        action_row(
            "waiting", place, state=None if state is None else msgspec.json.encode(state).decode(), wake_at=later
        )
        for place, state in states.items()
    ]
    records.append(action_row("failed", 4, error='{"class":"x","message":"y"}', wake_at=later))
    async with acme.parts.database.connection() as connection:
        one = await make_execution(connection, tenant, made, "waiting", records=records)
        await add_event_waits(connection, [EventWait(tenant, one, 1, 0, "deal.*", None, "{}")])
        await ask_approvals(connection, [NewApproval(tenant, approval, one, 3, 0, "t", "", None)])
    limits = (await why(acme, one))["limits"]
    assert [(limit["limit"], limit["action"]) for limit in limits] == [
        ("timer", "a0"), ("event", "a1"), ("execution", "a2"), ("approval", "a3"), ("retry", "a4"),
    ]  # fmt: skip
    assert (limits[1]["event"], limits[2]["child_id"], limits[3]["approval_id"]) == (
        "deal.*", str(child), str(approval)
    )  # fmt: skip
    assert all("until" in limit for limit in limits)
    waiting = (await acme.call("GET", f"/executions/{one}")).json()["waiting_for"]
    assert set(waiting) == {"approvals", "events", "executions"}
    assert (waiting["events"][0]["event"], waiting["executions"][0]["execution_id"]) == ("deal.*", str(child))
    assert (waiting["approvals"][0]["action"], waiting["approvals"][0]["approval_id"]) == ("a3", str(approval))


async def test_a_slot_of_its_concurrency_holds_it(acme: World) -> None:
    made, tenant = UUID((await acme.made(workflow()))["id"]), await tenant_of(acme)
    async with acme.parts.database.connection() as connection:
        ids = [await make_execution(connection, tenant, made, "waiting") for _ in range(2)]
        await enter(connection, [Entry(tenant, made, one, "k", 1, "queue") for one in ids])
    (limit,) = (await why(acme, ids[1]))["limits"]
    assert (limit["limit"], limit["place"], limit["key"]) == ("concurrency", 1, "k")
    assert limit["held_by"] == [str(ids[0])]


async def test_a_call_a_trigger_and_a_workflow_have_priorities(acme: World) -> None:
    made = await acme.made(workflow(priority=3, triggers=[{"key": "t", "type": "manual", "priority": -2}]))
    assert made["priority"] == 3
    path = f"/workflows/{made['id']}"
    answer = await acme.call("POST", f"{path}/execute", {"input": {}, "priority": 10})
    (row,) = await acme.fetch("SELECT id, priority FROM executions")
    assert (str(row["id"]), row["priority"]) == (answer.json()["execution_id"], 10)
    for wrong in (11, -11, 1.5, "high"):
        assert (await acme.call("POST", f"{path}/execute", {"priority": wrong})).status_code == 422
        assert (await acme.call("PATCH", path, {"priority": wrong})).status_code == 422


@pytest.mark.parametrize("path", ["/queue", f"/executions/{UUID(int=1)}/why-waiting"])
async def test_nobody_looks_without_a_key(acme: World, path: str) -> None:
    assert (await acme.client.get(f"/api/v1{path}")).status_code == 401
