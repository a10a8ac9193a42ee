"""What the four processes show of themselves to those who look on: the live stream, the answers at the tenants'
borders, the logs and the counters.
"""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.installation import PLATFORM_KEY, SERVICES, Installation, Tenant, example, installation, signature
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("spine")]

NOWHERE = "01910000-0000-7000-8000-000000000000"
PROBLEM = {"type", "title", "status", "detail", "request_id", "errors"}
TABLES = (
    "tenants", "api_keys", "workflows", "workflow_versions", "triggers", "executions", "action_executions", "firings",
    "idempotency_keys",
)  # fmt: skip
BEAT = {"key": "beat", "type": "log", "config": {"message": "now"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with installation(tmp_path_factory.mktemp("spine"), SIGNALBOX_LOG_LEVEL="debug") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(running: Installation) -> AsyncIterator[Tenant]:
    async with running.tenant("acme") as tenant:
        yield tenant


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rival(running: Installation) -> AsyncIterator[Tenant]:
    async with running.tenant("rival") as tenant:
        yield tenant


async def call(
    running: Installation, service: str, request: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and answer of a request ("METHOD /path") to a service."""
    method, path = request.split()
    url = f"{running.services[service].url}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, data=body, headers=headers) as response:
        return response.status, dict(response.headers), await response.json(content_type=None)


async def events(running: Installation, tenant: Tenant, execution_id: str) -> AsyncIterator[tuple[str, Any]]:
    """Id and data of each server-sent event of an execution."""
    url, number = f"{running.services['gateway'].url}/api/v1/executions/{execution_id}/stream", ""
    async with aiohttp.ClientSession() as session, session.get(url, headers=tenant.headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        async for line in response.content:
            if line.startswith(b"id: "):
                number = line.removeprefix(b"id: ").decode().strip()
            elif line.startswith(b"data: "):
                yield number, json.loads(line.removeprefix(b"data: "))


async def test_a_live_stream_shows_the_progress_to_the_end(running: Installation, acme: Tenant) -> None:
    held = {"url": f"{running.echo.url}/held", "body": {"name": "{{ input.name }}"}}
    actions = [
        {"key": "before", "type": "set_variables", "config": {"values": {"name": "{{ input.name }}"}}},
        {"key": "call", "type": "http_request", "config": held},
        {"key": "after", "type": "log", "config": {"message": "{{ vars.name }}"}},
    ]
    workflow = await acme.make(
        "/workflows", {"name": "followed", "actions": actions, "output": {"n": "{{ vars.name }}"}}
    )
    run = await acme.make(f"/workflows/{workflow['id']}/execute", {"input": {"name": "Ada"}})
    seen: list[tuple[str, str, int]] = []
    last: Any = None
    async for number, last in events(running, acme, run["execution_id"]):
        seen.append((number, last["status"], last["progress"]))
        if [(action["key"], action["status"]) for action in last["actions"]][1:] == [("call", "started")]:
            running.echo.release.set()
    assert len({number for number, _, _ in seen}) == len(seen)
    assert ("running", 33) in [(status, progress) for _, status, progress in seen]
    assert [progress for _, _, progress in seen] == sorted(progress for _, _, progress in seen)
    assert (seen[-1][1:], last["output"]) == (("completed", 100), {"n": "Ada"})
    assert last == (await acme.call("GET", f"/executions/{run['execution_id']}"))[1]


async def test_at_the_borders_every_answer_is_the_one_of_the_contract_and_nothing_is_stored(
    running: Installation, acme: Tenant, rival: Tenant
) -> None:
    bearer = {"key": "in", "type": "webhook", "config": {"auth": {"type": "bearer"}}}
    workflow = await acme.make("/workflows", {"name": "our secret plan", "triggers": [bearer], "actions": [BEAT]})
    trigger = workflow["triggers"][0]
    run = await acme.ended((await acme.make(f"/workflows/{workflow['id']}/execute", {}))["execution_id"])
    w, e = f"/api/v1/workflows/{workflow['id']}", f"/api/v1/executions/{run['id']}"
    key, other = acme.headers["Authorization"], rival.headers
    taken_over = b'{"name": "taken over", "actions": [{"key": "a", "type": "log", "config": {"message": "x"}}]}'
    cases: list[tuple[str, str, dict[str, str], int]] = [
        ("gateway", "POST /api/v1/workflows", {"X-Tenant-ID": "acme"}, 401),
        ("gateway", "POST /api/v1/workflows", {"Authorization": "Bearer sbk_nobody", "X-Tenant-ID": "acme"}, 401),
        ("gateway", "POST /api/v1/workflows", {"Authorization": f"Bearer {PLATFORM_KEY}", "X-Tenant-ID": "acme"}, 401),
        ("gateway", "POST /api/v1/admin/tenants", {"Authorization": key}, 401),
        ("gateway", "POST /api/v1/workflows", {"Authorization": key}, 400),
        ("gateway", "POST /api/v1/workflows", {"Authorization": key, "X-Tenant-ID": "rival"}, 403),
        ("gateway", "POST /api/v1/workflows", {"Authorization": key, "X-Tenant-ID": NOWHERE}, 403),
        *[("gateway", f"{method} {w}", other, 404) for method in ("GET", "PUT", "PATCH", "DELETE")],
        ("gateway", f"POST {w}/execute", other, 404),
        *[("gateway", f"GET {w}/{path}", other, 404) for path in ("executions", "triggers", "webhook-url")],
        *[("gateway", f"GET {e}{path}", other, 404) for path in ("", "/actions", "/stream")],
        ("gateway", f"POST {e}/cancel", other, 404),
        ("gateway", f"POST /api/v1/workflows/{NOWHERE}/execute", acme.headers, 404),
        ("gateway", "POST /api/v1/workflows/not-an-id/execute", acme.headers, 404),
        ("webhooks", f"POST /webhooks/{NOWHERE}", {}, 404),
        ("webhooks", f"POST /webhooks/{trigger['id']}", {}, 401),
        ("webhooks", f"POST /webhooks/{trigger['id']}", {"Authorization": key}, 401),
        ("webhooks", f"POST /webhooks/{trigger['id']}/not-the-token", {}, 401),
        ("webhooks", f"GET /webhooks/{trigger['id']}", {}, 405),
    ]
    before = await counts(running)
    for number, (service, request, headers, status) in enumerate(cases):
        given = {"Content-Type": "application/json", "X-Request-ID": f"border-{number}", **headers}
        body = b'{"input": {}}' if request.endswith("/execute") else taken_over
        got, answered, problem = await call(running, service, request, given, body)
        assert (got, problem["status"]) == (status, status), (request, headers, problem)
        assert answered["Content-Type"] == "application/problem+json"
        assert (set(problem), problem["request_id"], answered["X-Request-ID"]) == (
            PROBLEM, f"border-{number}", f"border-{number}",
        )  # fmt: skip
        assert "our secret plan" not in json.dumps(problem)
    assert await counts(running) == before
    assert (await acme.call("GET", f"/workflows/{workflow['id']}"))[1]["version"] == 1


async def counts(running: Installation) -> dict[str, int]:
    """The rows of every table that a refused request might have reached."""
    rows = [await running.fetch(f"SELECT count(*) AS rows FROM {table}") for table in TABLES]
    return {table: found[0]["rows"] for table, found in zip(TABLES, rows, strict=True)}


async def test_one_trace_leads_through_the_logs_of_every_service_that_had_the_run(
    running: Installation, acme: Tenant
) -> None:
    """No caller brings a trace here: the one that begins at the door is the one that the logs show."""
    workflow = await acme.make("/workflows", {**example("payment", running.echo), "name": "traced"})
    trigger, body = workflow["triggers"][0], b'{"amount": 5, "customer": {"id": "c1"}}'
    signed = {"X-Signature-256": signature(trigger["secret"], body), "X-Request-ID": "through-the-hook"}
    _, _, hooked = await call(running, "webhooks", f"POST /webhooks/{trigger['id']}", signed, body)
    by_hand = f"POST /api/v1/workflows/{workflow['id']}/execute"
    headers = {**acme.headers, "X-Request-ID": "by-hand", "Content-Type": "application/json"}
    data = b'{"input": {"body": {"amount": 5, "customer": {"id": "c1"}}}}'
    _, _, started = await call(running, "gateway", by_hand, headers, data)
    (tenant,) = await running.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    for door, request_id, execution_id in (
        ("webhooks", "through-the-hook", hooked["execution_id"]), ("gateway", "by-hand", started["execution_id"]),
    ):  # fmt: skip
        run = await acme.ended(execution_id)
        ids = {"tenant_id": str(tenant["tenant_id"]), "execution_id": run["id"], "trace_id": run["trace_id"]}
        assert len(run["trace_id"]) == 32
        assert await lines_with(running, door, {**ids, "request_id": request_id})
        assert await lines_with(running, "executor", {**ids, "event": "execution ended"})


async def lines_with(running: Installation, service: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The log lines of a service that hold these values, once there are any."""
    found: list[dict[str, Any]] = []

    async def are_there() -> bool:
        found[:] = [line for line in running.log_of(service) if values.items() <= line.items()]
        return bool(found)

    await until(are_there)
    return found


async def test_no_log_holds_a_secret_or_a_stack_trace(running: Installation, acme: Tenant) -> None:
    """Each credential is used as it should be, and once where it should not be."""
    hmac_trigger = example("payment", running.echo)["triggers"][0]
    bearer = {"key": "bearer", "type": "webhook", "config": {"auth": {"type": "bearer", "token": "tok-4711-sesame"}}}
    calling = {
        "key": "call", "type": "http_request",
        "config": {"url": f"{running.echo.url}/plain", "body": {}, "auth": {"type": "bearer", "token": "out-4711-go"}},
    }  # fmt: skip
    made = await acme.make(
        "/workflows", {"name": "full of secrets", "triggers": [hmac_trigger, bearer], "actions": [calling]}
    )
    signed, guarded = made["triggers"]
    body, key = b'{"amount": 5, "password": "hunter-2-hunter"}', acme.headers["Authorization"]
    hook, path = f"POST /webhooks/{signed['id']}", f"POST /webhooks/{guarded['id']}"
    calls: list[tuple[str, dict[str, str], int]] = [
        (hook, {"X-Signature-256": signature(signed["secret"], body)}, 202),
        (hook, {"X-Signature-256": signed["secret"]}, 401),
        (path, {"Authorization": "Bearer tok-4711-sesame"}, 202),
        (path, {"Authorization": key}, 401),
        (f"{path}/{guarded['token']}?token=tok-4711-sesame", {"Cookie": "session=crumbs-4711"}, 401),
    ]
    for request, headers, status in calls:
        got, _, answer = await call(running, "webhooks", request, headers, body)
        assert got == status, (request, answer)
        if status == 202:
            assert (await acme.ended(answer["execution_id"]))["status"] == "completed"
    assert (await call(running, "gateway", "GET /api/v1/workflows", {"Authorization": f"Bearer {PLATFORM_KEY}"}))[
        0
    ] == 401
    secrets = (
        PLATFORM_KEY, key.split()[1], signed["secret"], guarded["token"], "tok-4711-sesame", "out-4711-go",
        "crumbs-4711", "hunter-2-hunter", running.environment["SIGNALBOX_MASTER_KEYS"].partition(":")[2],
        str(urlsplit(running.dsn).password),
    )  # fmt: skip
    for name in SERVICES:
        text = running.services[name].log.read_text()
        assert [secret for secret in secrets if secret in text] == []
        lines = running.log_of(name)
        assert [line for line in lines if "exception" in line or line["level"] == "error"] == []
        assert {line["service"] for line in lines} == {name}


async def test_every_service_counts_what_it_did(running: Installation, acme: Tenant) -> None:
    payment = json.dumps(example("payment", running.echo)).replace("/payments", "/flaky")
    execute = 'method="POST",route="/api/v1/workflows/{workflow_id}/execute",service="gateway",status="202"'
    done: dict[tuple[str, str], int] = {
        ("gateway", f"signalbox_http_requests_total{{{execute}}}"): 1,
        ("gateway", "signalbox_accept_flush_items_sum"): 1,
        ("gateway", 'signalbox_bus_published_total{lane="prompt",outcome="confirmed"}'): 1,
        ("webhooks", 'signalbox_webhook_calls_total{outcome="accepted"}'): 1,
        ("webhooks", 'signalbox_webhook_calls_total{outcome="signature"}'): 1,
        ("webhooks", 'signalbox_webhook_calls_total{outcome="no_match"}'): 1,
        ("webhooks", "signalbox_accept_flush_items_sum"): 3,
        ("webhooks", 'signalbox_bus_published_total{lane="prompt",outcome="confirmed"}'): 1,
        ("scheduler", 'signalbox_firings_total{outcome="fired"}'): 1,
        ("scheduler", "signalbox_schedule_lag_seconds_count"): 1,
        ("executor", 'signalbox_claims_total{outcome="taken"}'): 3,
        ("executor", 'signalbox_executions_total{status="completed"}'): 3,
        ("executor", 'signalbox_action_executions_total{status="started",type="http_request"}'): 2,
        ("executor", 'signalbox_action_executions_total{status="failed",type="http_request"}'): 1,
        ("executor", 'signalbox_action_executions_total{status="completed",type="http_request"}'): 1,
        ("executor", 'signalbox_action_seconds_count{type="http_request"}'): 2,
    }
    before = await counted(running, done)

    async def nothing_moves() -> bool:
        """What the tests before have set off is counted."""
        nonlocal before
        earlier, before = before, await counted(running, done)
        return earlier == before

    await until(nothing_moves)
    workflow = await acme.make("/workflows", {**json.loads(payment), "name": "counted"})
    trigger = workflow["triggers"][0]
    for amount, secret in ((90000, trigger["secret"]), (90000, "not the secret"), (-1, trigger["secret"])):
        body = json.dumps({"amount": amount, "customer": {"id": "c1"}}).encode()
        headers = {"X-Signature-256": signature(secret, body)}
        await call(running, "webhooks", f"POST /webhooks/{trigger['id']}", headers, body)
    greeting = await acme.make("/workflows", {**example("greeting", running.echo), "name": "counted by hand"})
    await acme.make(f"/workflows/{greeting['id']}/execute", {"input": {"name": "Bob"}})
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    once = {"key": "once", "type": "schedule", "config": {"type": "at", "at": soon}}
    await acme.make("/workflows", {"name": "counted slot", "triggers": [once], "actions": [BEAT]})
    rises: dict[tuple[str, str], float] = {}

    async def are_counted() -> bool:
        rises.update({which: value - before[which] for which, value in (await counted(running, done)).items()})
        return rises == done

    with suppress(TimeoutError):
        await until(are_counted)
    assert rises == done


async def counted(running: Installation, which: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """The values of these series, each of a service."""
    return {(name, series): await running.metric(name, series) for name, series in which}
