"""Starting by hand and looking at executions."""

import asyncio
from datetime import timedelta
from uuid import UUID

from libs.common.clock import id_time
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_ATTEMPT = """
INSERT INTO action_executions
       (tenant_id, execution_id, position, attempt, key, type, status, input, output, error, started_at, finished_at)
SELECT tenant_id, id, $2, $3, 'say', 'log', $4, '{"message": "x"}', $5, $6, now(), now() + interval '2 milliseconds'
  FROM executions WHERE id = $1
"""
_FINISH = """
UPDATE executions SET status = $2, wake_at = NULL, total = 2, executed = 1, failed = 1, output = '{"a": 1}',
       started_at = now(), finished_at = now() + interval '5 milliseconds' WHERE id = $1
"""


async def started(world: World, workflow_id: str, **more: str) -> UUID:
    answer = await world.call("POST", f"/workflows/{workflow_id}/execute", {"input": {"n": 1}}, **more)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["execution_id"])


async def test_execute_answers_after_the_commit(acme: World) -> None:
    made = await acme.made(workflow())
    answer = await acme.call(
        "POST", f"/workflows/{made['id']}/execute", {"input": {"n": 1}},
        X_User_ID="ann", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
    )  # fmt: skip
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    execution_id = answer.json()["execution_id"]
    assert answer.headers["location"] == f"/api/v1/executions/{execution_id}"
    shown = (await acme.call("GET", f"/executions/{execution_id}", role="viewer")).json()
    assert shown["trigger"] == {"id": None, "type": "manual"}
    assert (shown["input"], shown["version"], shown["actor"], shown["actions"]) == ({"n": 1}, 1, "ann", [])
    assert (shown["trace_id"], shown["progress"], shown["status"]) == (TRACE, 0, "pending")
    bare = await acme.client.post(f"/api/v1/workflows/{made['id']}/execute", headers=acme.headers("acme"))
    assert bare.status_code == 202


async def test_a_disabled_workflow_is_not_started(acme: World) -> None:
    made = await acme.made(workflow(enabled=False))
    answer = await acme.call("POST", f"/workflows/{made['id']}/execute", {})
    assert answer.status_code == 409
    assert await acme.count("executions") == 0


async def test_the_input_is_checked_against_the_newest_schema(acme: World) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "list": {"items": {"minimum": 3}}},
        "required": ["n"],
    }
    made = await acme.made(workflow(input_schema=schema))
    path = f"/workflows/{made['id']}"
    bad = await acme.call("POST", f"{path}/execute", {"input": {"n": "x", "list": [5, 1]}})
    assert (bad.status_code, sorted(fault["path"] for fault in bad.json()["errors"])) == (
        422,
        ["input.list[1]", "input.n"],
    )
    assert (await acme.call("POST", f"{path}/execute", {})).status_code == 422
    assert await acme.count("executions") == 0
    assert (await acme.call("POST", f"{path}/execute", {"input": {"n": 1}})).status_code == 202
    await acme.call("PATCH", path, {"input_schema": None})
    assert (await acme.call("POST", f"{path}/execute", {"input": {"n": "x"}})).status_code == 202


async def test_a_retry_with_the_same_key_starts_nothing(acme: World) -> None:
    made, other = await acme.made(workflow()), await acme.made(workflow("Other"))
    calls = [started(acme, made["id"], Idempotency_Key="k1") for _ in range(8)]
    assert len(set(await asyncio.gather(*calls))) == 1
    assert await acme.count("executions") == 1
    path = f"/workflows/{made['id']}/execute"
    replayed = await acme.call("POST", path, {"input": {"n": 1}}, Idempotency_Key="k1")
    assert replayed.headers["idempotent-replayed"] == "true"
    for where, body in ((path, {"input": {"n": 2}}), (f"/workflows/{other['id']}/execute", {"input": {"n": 1}})):
        mismatch = await acme.call("POST", where, body, Idempotency_Key="k1")
        assert mismatch.status_code == 422
        assert mismatch.json()["type"].endswith("idempotency-mismatch")
    await started(acme, made["id"], Idempotency_Key="k2")
    assert (await acme.call("POST", path, {}, Idempotency_Key="x" * 256)).status_code == 422
    foreign = await acme.made(workflow(), slug="other")
    await started(acme, foreign["id"], slug="other", Idempotency_Key="k1")
    assert await acme.count("executions") == 3


async def test_an_execution_with_its_attempts(acme: World) -> None:
    made = await acme.made(workflow())
    execution_id = await started(acme, made["id"])
    async with acme.parts.database.connection() as connection:
        await connection.execute(_ATTEMPT, execution_id, 0, 1, "failed", None, '{"error_class": "x", "message": "m"}')
        await connection.execute(_ATTEMPT, execution_id, 0, 2, "completed", '{"ok": true}', None)
        await connection.execute(_FINISH, execution_id, "completed")
    shown = (await acme.call("GET", f"/executions/{execution_id}")).json()
    assert (shown["status"], shown["progress"], shown["output"], shown["duration_ms"]) == (
        "completed",
        100,
        {"a": 1},
        5.0,
    )
    assert [(row["attempt"], row["status"], row["success"]) for row in shown["actions"]] == [
        (1, "failed", False),
        (2, "completed", True),
    ]
    assert (shown["actions"][1]["output"], shown["actions"][1]["duration_ms"]) == ({"ok": True}, 2.0)
    first = (await acme.call("GET", f"/executions/{execution_id}/actions?limit=1")).json()
    rest = (await acme.call("GET", f"/executions/{execution_id}/actions?limit=1&cursor={first['next_cursor']}")).json()
    assert first["items"] + rest["items"] == shown["actions"]
    assert rest["next_cursor"] is None


async def test_lists_and_filters(acme: World) -> None:
    one, two = await acme.made(workflow("One")), await acme.made(workflow("Two"))
    first = [await started(acme, one["id"]) for _ in range(3)]
    second = await started(acme, two["id"])
    async with acme.parts.database.connection() as connection:
        await connection.execute(_FINISH, first[0], "failed")

    async def ids(path: str) -> list[str]:
        answer = await acme.call("GET", path)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["items"]]

    newest = [str(execution_id) for execution_id in (second, *first[::-1])]
    assert await ids("/executions") == newest
    assert await ids(f"/workflows/{one['id']}/executions") == newest[1:]
    assert await ids(f"/executions?workflow_id={two['id']}") == newest[:1]
    assert await ids("/executions?status=failed") == newest[-1:]
    assert await ids("/executions?status=failed&status=pending") == newest
    assert await ids("/executions?trigger_type=webhook") == []
    after = (id_time(second) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    before = (id_time(first[0]) - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert await ids(f"/executions?from={after}") == []
    assert await ids(f"/executions?from={before}&to={after}") == newest
    assert await ids(f"/executions?to={before}") == []
    page = (await acme.call("GET", "/executions?limit=3")).json()
    assert await ids(f"/executions?limit=3&cursor={page['next_cursor']}") == newest[3:]
    bad = await acme.call("GET", "/executions?status=lost")
    assert bad.status_code == 422


async def test_cancel(acme: World) -> None:
    made = await acme.made(workflow())
    execution_id = await started(acme, made["id"])
    cancelled = await acme.call("POST", f"/executions/{execution_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["finished_at"] is not None
    assert (await acme.call("POST", f"/executions/{execution_id}/cancel")).status_code == 409
