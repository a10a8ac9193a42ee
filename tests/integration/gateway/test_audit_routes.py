"""Every route that changes something writes an audit row, in the name of its request; a new route that does not fails
here, or stands in the list of exceptions with its reason.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from libs.common.clock import new_id
from services.gateway.app import create_app
from tests.factories import call_row, make_execution
from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.definitions import hourly, webhook, workflow
from tests.integration.gateway.test_approvals import YES, asked

Scenario = Callable[[World], Awaitable[tuple[str, Any]]]
"""Prepares what is to be changed; returns the path below /api/v1 and the body."""

EXCEPTIONS = {
    "POST /events": "the log of events has it, with its actor",
    "POST /workflows/{workflow_id:uuid}/execute": "the execution is the record, with its actor",
    "POST /workflows/{workflow_id:uuid}/test": "nothing is changed; with effects, the execution is the record",
    "POST /workflows/validate": "nothing is changed",
    "POST /schedules/preview": "nothing is changed",
    "POST /triggers/{trigger_id:uuid}/register-schedule": "nothing is changed",
    "POST /triggers/{trigger_id:uuid}/test": "nothing is changed; executed, the log of calls has it",
    "POST /notifications/{notification_id:uuid}/read": "a user reads what is theirs",
    "POST /notifications/read-all": "a user reads what is theirs",
}


async def a_workflow(world: World) -> tuple[str, Any]:
    return f"/workflows/{(await world.made(workflow()))['id']}", workflow("Other")


async def a_schedule(world: World) -> str:
    return (await world.made(workflow("Timed", triggers=[hourly()])))["triggers"][0]["id"]


async def a_webhook(world: World) -> str:
    return (await world.made(workflow("Hooked", triggers=[webhook(type="github")])))["triggers"][0]["id"]


async def a_task(world: World) -> str:
    made = await world.call("POST", "/scheduled-tasks", {**TASK_BODY, "name": "Task"})
    return f"/scheduled-tasks/{made.json()['id']}"


async def an_execution(world: World, status: str = "pending", then: str = "") -> str:
    made = await world.made(workflow("Run"))
    (row,) = await world.fetch("SELECT tenant_id, id FROM workflows WHERE name = 'Run'")
    async with world.parts.database.connection() as connection:
        execution = await make_execution(connection, row["tenant_id"], row["id"], status)
    if then:
        assert (await world.call("POST", f"/executions/{execution}/{then}")).status_code == 200, made
    return f"/executions/{execution}"


async def a_record(world: World) -> str:
    made = await world.call("POST", "/collections/deals/records", {"data": {"a": 1}})
    return f"/collections/deals/records/{made.json()['id']}"


async def a_call(world: World) -> tuple[str, str]:
    trigger = await a_webhook(world)
    (row,) = await world.fetch("SELECT tenant_id, id FROM triggers WHERE type = 'webhook'")
    call = call_row(row["tenant_id"], row["id"], headers='{"content-type":"application/json"}', version=1)
    await world.parts.acceptor.log_call(call)
    return trigger, str(call.id)


async def tenant(world: World) -> str:
    rows = await world.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    return f"/admin/tenants/{rows[0]['tenant_id']}"


async def key(world: World, path: str, headers: dict[str, str]) -> str:
    body = {"name": "k", "role": "viewer"}
    made = await world.client.post(f"/api/v1{path}", json=body, headers=headers)
    return f"{path}/{made.json()['id']}"


def at(path: str, body: Any = None) -> Scenario:
    async def prepare(_: World) -> tuple[str, Any]:
        return path, body

    return prepare


def of(make: Callable[[World], Awaitable[str]], suffix: str = "", body: Any = None) -> Scenario:
    async def prepare(world: World) -> tuple[str, Any]:
        made = await make(world)
        return (made if made.startswith("/") else f"/triggers/{made}") + suffix, body

    return prepare


async def resumable(world: World) -> tuple[str, Any]:
    trigger = await a_schedule(world)
    await world.call("POST", f"/triggers/{trigger}/pause")
    return f"/triggers/{trigger}/resume", None


async def resumable_task(world: World) -> tuple[str, Any]:
    path = await a_task(world)
    await world.call("POST", f"{path}/pause")
    return f"{path}/resume", None


async def one_call(world: World) -> tuple[str, Any]:
    return f"/webhook-logs/{(await a_call(world))[1]}/replay", {}


async def some_calls(world: World) -> tuple[str, Any]:
    trigger, call = await a_call(world)
    return f"/triggers/{trigger}/webhook-logs/replay", {"ids": [call]}


async def an_approval(world: World) -> tuple[str, Any]:
    return f"/approvals/{(await asked(world)).id}", YES


async def named_collection(world: World) -> str:
    await world.call("POST", "/collections", {"name": "orders"})
    return "/collections/orders"


async def a_secret(world: World) -> str:
    await world.call("PUT", "/secrets/TOKEN", {"value": "x"})
    return "/secrets/TOKEN"


WORKFLOW, TRIGGER = "/workflows/{workflow_id:uuid}", "/triggers/{trigger_id:uuid}"
TASK, EXECUTION = "/scheduled-tasks/{task_id:uuid}", "/executions/{execution_id:uuid}"
RECORDS, TENANT = "/collections/{name:str}/records", "/admin/tenants/{tenant_id:uuid}"
RANGE = {"from": "2026-11-20T00:00:00Z", "to": "2026-11-20T02:00:00Z"}
HOURLY = {"type": "interval", "hours": 1}
TASK_BODY = {"name": "New", "type": "cleanup", "schedule": HOURLY, "config": {"older_than_days": 9}}
SCENARIOS: dict[str, Scenario] = {
    "POST /workflows": at("/workflows", workflow()),
    f"PUT {WORKFLOW}": a_workflow,
    f"PATCH {WORKFLOW}": a_workflow,
    f"DELETE {WORKFLOW}": a_workflow,
    f"PATCH {WORKFLOW}/enable": lambda world: switched(world),
    f"POST {TRIGGER}/pause": of(a_schedule, "/pause"),
    f"POST {TRIGGER}/resume": resumable,
    f"POST {TRIGGER}/fire": of(a_schedule, "/fire"),
    f"POST {TRIGGER}/backfill": of(a_schedule, "/backfill", RANGE),
    f"POST {TRIGGER}/rotate-secret": of(a_webhook, "/rotate-secret", {}),
    f"POST {TRIGGER}/webhook-logs/replay": some_calls,
    "POST /webhook-logs/{log_id:uuid}/replay": one_call,
    "POST /scheduled-tasks": at("/scheduled-tasks", TASK_BODY),
    f"PUT {TASK}": of(a_task, "", TASK_BODY),
    f"PATCH {TASK}": of(a_task, "", {"name": "Other"}),
    f"DELETE {TASK}": of(a_task),
    f"POST {TASK}/run": of(a_task, "/run"),
    f"POST {TASK}/pause": of(a_task, "/pause"),
    f"POST {TASK}/resume": resumable_task,
    f"POST {EXECUTION}/cancel": of(an_execution, "/cancel"),
    f"POST {EXECUTION}/pause": of(an_execution, "/pause"),
    f"POST {EXECUTION}/resume": of(lambda world: an_execution(world, then="pause"), "/resume"),
    f"POST {EXECUTION}/retry": of(lambda world: an_execution(world, "failed"), "/retry"),
    "POST /executions/cancel": at("/executions/cancel", {}),
    "POST /executions/retry": at("/executions/retry", {}),
    "PUT /secrets/{name:str}": at("/secrets/TOKEN", {"value": "x"}),
    "DELETE /secrets/{name:str}": of(a_secret),
    "POST /collections": at("/collections", {"name": "orders"}),
    "PATCH /collections/{name:str}": of(named_collection, "", {"description": "All"}),
    "DELETE /collections/{name:str}": of(named_collection),
    f"POST {RECORDS}": at("/collections/deals/records", {"data": {}}),
    f"PUT {RECORDS}/{{record_id:uuid}}": of(a_record, "", {"data": {"a": 2}}),
    f"PATCH {RECORDS}/{{record_id:uuid}}": of(a_record, "", {"data": {"a": 2}}),
    f"DELETE {RECORDS}/{{record_id:uuid}}": of(a_record),
    "POST /approvals/{approval_id:uuid}": an_approval,
    "POST /api-keys": at("/api-keys", {"name": "k", "role": "viewer"}),
    "DELETE /api-keys/{key_id:uuid}": of(lambda world: key(world, "/api-keys", world.headers("acme"))),
    "POST /admin/doctor": at("/admin/doctor"),
    "POST /admin/tenants": at("/admin/tenants", {"slug": "third", "name": "Third"}),
    f"PATCH {TENANT}": of(tenant, "", {"name": "Acme"}),
    f"PUT {TENANT}/limits": of(tenant, "/limits", {"plan": "standard"}),
    f"POST {TENANT}/suspend": of(tenant, "/suspend"),
    f"POST {TENANT}/resume": of(tenant, "/resume"),
    f"POST {TENANT}/erase": of(tenant, "/erase", {"slug": "acme"}),
    f"POST {TENANT}/api-keys": of(tenant, "/api-keys", {"name": "k", "role": "viewer"}),
    f"DELETE {TENANT}/api-keys/{{key_id:uuid}}": of(lambda world: admin_key(world)),
}  # fmt: skip


async def switched(world: World) -> tuple[str, Any]:
    return (await a_workflow(world))[0] + "/enable", {"enabled": False}


async def admin_key(world: World) -> str:
    return await key(world, f"{await tenant(world)}/api-keys", ADMIN)


def changing(world: World) -> set[str]:
    """Every route of the gateway whose method may change something, as `METHOD /path`."""
    routes = cast("Any", create_app(world.parts)).routes
    return {
        f"{method} {route.path_format if hasattr(route, 'path_template') else route.path}".replace("/api/v1", "")
        for route in routes
        for method in getattr(route, "methods", ())
        if method not in {"GET", "HEAD", "OPTIONS"}
    }


async def test_every_route_that_changes_something_is_known_here(world: World) -> None:
    assert changing(world) == SCENARIOS.keys() | EXCEPTIONS.keys()


async def test_each_writes_an_audit_row(world: World) -> None:
    for route, prepare in SCENARIOS.items():
        async with world.parts.database.connection() as connection:
            await connection.execute("TRUNCATE tenants CASCADE")
        await world.tenant("acme")
        await check(world, route, prepare)


async def check(world: World, route: str, prepare: Scenario) -> None:
    method, path = route.split()
    target, body = await prepare(world)
    request_id = str(new_id())
    identity = ADMIN if path.startswith("/admin") else world.headers("acme")
    headers = {**identity, "X-Request-ID": request_id, "X-User-ID": "ada"}
    answer = await world.client.request(method, f"/api/v1{target}", headers=headers, json=body)
    assert answer.status_code < 300, f"{route}: {answer.text}"
    rows = await world.fetch("SELECT * FROM audit_log WHERE request_id = $1", request_id)
    assert rows, f"{route} changes something and leaves no audit row"
    assert {(row["actor"], row["address"]) for row in rows} == {("ada", "127.0.0.1")}, route
    assert all(row["credential"] for row in rows), route
