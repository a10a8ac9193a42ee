"""The four services as four processes over RabbitMQ, used as a customer's integrator uses them: by HTTP alone."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.openmetrics import parser

from tests.e2e.installation import Installation, Tenant, example, installation, signature
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("four services")]

PAID = b'{"amount": 12050, "customer": {"id": "cus_42"}}'
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with installation(tmp_path_factory.mktemp("e2e"), SIGNALBOX_LOG_LEVEL="debug") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(running: Installation) -> AsyncIterator[Tenant]:
    async with running.tenant("acme") as tenant:
        yield tenant


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rival(running: Installation) -> AsyncIterator[Tenant]:
    async with running.tenant("rival") as tenant:
        yield tenant


async def pay(trigger: dict[str, Any], body: bytes = PAID, secret: str | None = None) -> tuple[int, dict[str, Any]]:
    headers = {
        "X-Signature-256": signature(secret or trigger["secret"], body),
        "Content-Type": "application/json",
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    }
    async with aiohttp.ClientSession() as session, session.post(trigger["url"], data=body, headers=headers) as response:
        return response.status, await response.json()


async def payment_workflow(running: Installation, tenant: Tenant, name: str) -> dict[str, Any]:
    """The example, stored; its call fails once. The trigger's address is that of the webhook service."""
    text = json.dumps(example("payment", running.echo)).replace("/payments", "/flaky")
    workflow = await tenant.make("/workflows", {**json.loads(text), "name": name})
    trigger = workflow["triggers"][0]
    trigger["url"] = f"{running.services['webhooks'].url}/webhooks/{trigger['id']}"
    return workflow


async def test_a_signed_webhook_runs_to_a_record_of_every_attempt(running: Installation, acme: Tenant) -> None:
    workflow = await payment_workflow(running, acme, "payments")
    status, answer = await pay(workflow["triggers"][0])
    assert (status, answer["success"]) == (202, True)
    run = await acme.ended(answer["execution_id"])
    assert (run["status"], run["progress"], run["output"]) == ("completed", 100, {"customer": "cus_42", "euros": 120.5})
    attempts = [(action["key"], action["attempt"], action["status"]) for action in run["actions"]]
    assert attempts == [
        ("payment", 1, "completed"), ("size", 1, "completed"), ("crm", 1, "failed"), ("crm", 2, "completed"),
        ("done", 1, "completed"),
    ]  # fmt: skip
    failed, done = run["actions"][2], run["actions"][3]
    assert (failed["error"]["http_status"], done["output"]["body"]) == (
        503, {"received": {"customer": "cus_42", "euros": 120.5}},
    )  # fmt: skip
    assert running.echo.calls[f"{run['id']}:crm:0"] == 2
    assert run["trace_id"] == TRACE


async def test_a_wrong_signature_starts_nothing_and_is_logged(running: Installation, acme: Tenant) -> None:
    workflow = await payment_workflow(running, acme, "guarded payments")
    trigger = workflow["triggers"][0]
    status, answer = await pay(trigger, secret="not the secret at all")
    assert (status, answer["status"]) == (401, 401)
    assert (await acme.call("GET", f"/workflows/{workflow['id']}/executions"))[1]["items"] == []

    async def is_logged() -> bool:
        query = "SELECT outcome, execution_id FROM webhook_logs WHERE trigger_id = $1"
        return [tuple(row) for row in await running.fetch(query, trigger["id"])] == [("signature", None)]

    await until(is_logged)


async def test_a_schedule_fires(running: Installation, acme: Tenant) -> None:
    workflow = await acme.make("/workflows", example("heartbeat", running.echo))
    runs: list[Any] = []

    async def fired_twice() -> bool:
        runs[:] = (await acme.call("GET", f"/workflows/{workflow['id']}/executions"))[1]["items"]
        return len(runs) >= 2

    await until(fired_twice)
    assert (await acme.call("DELETE", f"/workflows/{workflow['id']}"))[0] == 204
    ended = [await acme.ended(run["id"]) for run in runs]
    assert {(run["status"], run["trigger"]["type"]) for run in ended} == {("completed", "schedule")}


async def test_a_manual_run_is_seen_live_to_its_end(running: Installation, acme: Tenant) -> None:
    workflow = await acme.make("/workflows", {**example("greeting", running.echo), "name": "seen live"})
    started = await acme.make(f"/workflows/{workflow['id']}/execute", {"input": {"name": "Ada"}})
    url = f"{running.services['gateway'].url}/api/v1/executions/{started['execution_id']}/stream"
    seen: list[Any] = []
    async with aiohttp.ClientSession() as session, session.get(url, headers=acme.headers) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                seen.append(json.loads(line.removeprefix(b"data: ")))
    assert (seen[-1]["status"], seen[-1]["output"]) == ("completed", {"greeting": "Hello, Ada!"})


async def test_a_socket_tells_of_every_run_of_the_tenant(running: Installation, acme: Tenant, rival: Tenant) -> None:
    url = f"{running.services['gateway'].url}/api/v1/executions/ws"
    workflow = await acme.make("/workflows", {**example("greeting", running.echo), "name": "told of"})
    other = await rival.make("/workflows", {**example("greeting", running.echo), "name": "not told of"})
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=acme.headers) as socket:
        await socket.send_json({"subscribe": {"statuses": ["completed"]}})
        assert (await socket.receive_json(timeout=PATIENCE_SECONDS))["type"] == "subscribed"
        await rival.ended(
            (await rival.make(f"/workflows/{other['id']}/execute", {"input": {"name": "Bob"}}))["execution_id"]
        )
        runs = [await acme.make(f"/workflows/{workflow['id']}/execute", {"input": {"name": "Ada"}}) for _ in range(3)]
        told = [(await socket.receive_json(timeout=PATIENCE_SECONDS))["execution"]["id"] for _ in runs]
    assert sorted(told) == sorted(run["execution_id"] for run in runs)


async def test_the_same_idempotency_key_starts_one_execution(running: Installation, acme: Tenant) -> None:
    workflow = await acme.make("/workflows", {**example("greeting", running.echo), "name": "once"})
    path, body = f"/workflows/{workflow['id']}/execute", {"input": {"name": "Ada"}}
    answers = [await acme.call("POST", path, body, Idempotency_Key="order-7") for _ in range(2)]
    assert answers[0] == answers[1]
    other = await acme.call("POST", path, {"input": {"name": "Bob"}}, Idempotency_Key="order-7")
    assert other[0] == 422
    assert len((await acme.call("GET", f"/workflows/{workflow['id']}/executions"))[1]["items"]) == 1


async def test_another_tenant_finds_nothing_and_changes_nothing(
    running: Installation, acme: Tenant, rival: Tenant
) -> None:
    workflow = await acme.make("/workflows", {**example("greeting", running.echo), "name": "private"})
    started = await acme.make(f"/workflows/{workflow['id']}/execute", {"input": {"name": "Ada"}})
    foreign = (
        ("GET", f"/workflows/{workflow['id']}", None),
        ("DELETE", f"/workflows/{workflow['id']}", None),
        ("POST", f"/workflows/{workflow['id']}/execute", {"input": {"name": "Eve"}}),
        ("GET", f"/executions/{started['execution_id']}", None),
    )
    answers = [(await rival.call(*call))[0] for call in foreign]
    assert answers == [404, 404, 404, 404]
    wrong = await acme.call("GET", "/workflows", X_Tenant_ID="rival")
    assert (wrong[0], wrong[1]["status"]) == (403, 403)
    assert len((await acme.call("GET", f"/workflows/{workflow['id']}/executions"))[1]["items"]) == 1


async def test_logs_are_json_with_the_ids_and_without_secrets(running: Installation, acme: Tenant) -> None:
    workflow = await payment_workflow(running, acme, "logged payments")
    trigger = workflow["triggers"][0]
    _, answer = await pay(trigger)
    run = await acme.ended(answer["execution_id"])
    ends: list[dict[str, Any]] = []

    async def end_is_logged() -> bool:
        lines = running.log_of("executor")
        ends[:] = [line for line in lines if line["event"] == "execution ended" and line["execution_id"] == run["id"]]
        return bool(ends)

    await until(end_is_logged)
    assert ends[0]["trace_id"] == TRACE
    assert ends[0]["tenant_id"]
    for name in running.services:
        text = running.services[name].log.read_text()
        assert all({"ts", "level", "service", "event"} <= line.keys() for line in running.log_of(name))
        assert "Traceback" not in text
        for secret in (trigger["secret"], acme.headers["Authorization"].split()[1], running.environment_secret):
            assert secret not in text


async def test_metrics_count_what_was_done(running: Installation, acme: Tenant) -> None:
    workflow = await payment_workflow(running, acme, "counted payments")
    before = await running.metric("executor", 'signalbox_executions_total{status="completed"}')
    _, answer = await pay(workflow["triggers"][0])
    await acme.ended(answer["execution_id"])
    assert await running.metric("executor", 'signalbox_executions_total{status="completed"}') >= before + 1
    assert await running.metric("webhooks", 'signalbox_webhook_calls_total{outcome="accepted"}') >= 1
    for name in running.services:
        async with aiohttp.ClientSession() as session:
            for page in ("healthz", "readyz"):
                async with session.get(f"{running.services[name].url}/{page}") as response:
                    assert response.status == 200


async def test_the_time_of_a_request_leads_to_its_trace(running: Installation, acme: Tenant) -> None:
    """As OpenMetrics, which whoever reads the page has to ask for."""
    workflow = await payment_workflow(running, acme, "traced payments")
    assert (await pay(workflow["triggers"][0]))[0] == 202
    assert (await acme.call("GET", "/workflows", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01"))[0] == 200
    openmetrics = {"Accept": "application/openmetrics-text;version=1.0.0"}
    for name in ("gateway", "webhooks"):
        page = f"{running.services[name].url}/metrics"
        async with aiohttp.ClientSession() as session, session.get(page, headers=openmetrics) as response:
            families = list(parser.text_string_to_metric_families(await response.text()))  # pyright: ignore
        traces = {
            sample.exemplar.labels["trace_id"]
            for family in families
            if family.name == "signalbox_http_request_seconds"
            for sample in family.samples
            if sample.exemplar is not None and sample.labels["service"] == name
        }
        assert traces == {TRACE}, "nobody else named a trace"
