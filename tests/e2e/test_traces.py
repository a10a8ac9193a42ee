"""One trace through the four services, from whoever called to whom an action calls, as a receiver of traces sees it."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.installation import Installation, Tenant, installation
from tests.e2e.receiver import Receiver, Tree, receiver
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("traces")]

TRACE, CALLER, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b" * 32
PARKED_SECONDS = 2.2
"""A delay for which an executor lets go."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traces() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, traces: Receiver) -> AsyncIterator[Installation]:
    settings = {"SIGNALBOX_OTLP_ENDPOINT": traces.url, "SIGNALBOX_LOG_LEVEL": "debug"}
    async with installation(tmp_path_factory.mktemp("traces"), **settings) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(running: Installation) -> AsyncIterator[Tenant]:
    async with running.tenant("acme") as tenant:
        yield tenant


async def seen(traces: Receiver, trace_id: str, parent_id: str, expected: list[Tree]) -> None:
    async def is_seen() -> bool:
        return traces.tree(trace_id, parent_id) == expected

    try:
        await until(is_seen)
    except TimeoutError:
        assert traces.tree(trace_id, parent_id) == expected


def call(running: Installation, **more: Any) -> dict[str, Any]:
    config = {"url": f"{running.echo.url}/orders?token=t0p", "method": "POST", "body": {"n": 1}}
    return {"key": "call", "type": "http_request", "config": config, **more}


def called(place: str) -> tuple[str, str]:
    """Trace and span of a `traceparent`."""
    return place.split("-")[1], place.split("-")[2]


async def test_a_call_is_one_trace_across_services_a_delay_and_a_sub_workflow(
    running: Installation, acme: Tenant, traces: Receiver
) -> None:
    await acme.make("/workflows", {"name": "inner", "actions": [call(running)]})
    workflow = await acme.make("/workflows", {
        "name": "outer", "triggers": [{"key": "in", "type": "webhook", "config": {"auth": {"type": "none"}}}],
        "actions": [call(running), {**call(running, delay_seconds=PARKED_SECONDS), "key": "later"},
                    {"key": "sub", "type": "run_workflow", "config": {"workflow": "inner"}}],
    })  # fmt: skip
    url = f"{running.services['webhooks'].url}/webhooks/{workflow['triggers'][0]['id']}"
    before = len(running.echo.traceparents)
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    async with aiohttp.ClientSession() as session, session.post(url, json={}, headers=headers) as response:
        answer = await response.json()
    run = await acme.ended(answer["execution_id"])
    assert (run["status"], run["trace_id"]) == ("completed", TRACE)
    request: list[Tree] = [("executor", "POST", [])]
    inner: list[Tree] = [("executor", "publish", [("executor", "run", [("executor", "http_request call", request)])])]
    await seen(traces, TRACE, CALLER, [("webhooks", "POST /webhooks/{trigger_id}", [("webhooks", "accept", [
        ("executor", "publish", [("executor", "run", [])]),  # once the sub-workflow has ended
        ("scheduler", "publish", [("executor", "run", [("executor", "http_request later", request)])]),
        ("webhooks", "publish", [("executor", "run", [("executor", "http_request call", request)])]),
        ("executor", "run_workflow sub", inner),  # began in one stretch and ended in another
    ])])])  # fmt: skip
    stretches = [span for span in traces.of(TRACE) if span.name == "run"]
    ids = {span.attributes["signalbox.execution.epoch"]: span.span_id
           for span in stretches if span.attributes["signalbox.execution.id"] == run["id"]}  # fmt: skip
    assert [span.links for span in stretches if span.span_id == ids["2"]] == [[ids["1"]]]
    assert [span.links for span in stretches if span.span_id == ids["3"]] == [[ids["2"]]]
    sent = {span.span_id for span in traces.of(TRACE) if span.name == "POST"}
    assert {called(place) for place in running.echo.traceparents[before:]} == {(TRACE, one) for one in sent}
    assert not any("t0p" in value for span in traces.of(TRACE) for value in span.attributes.values())


async def test_an_event_is_one_trace(running: Installation, acme: Tenant, traces: Receiver) -> None:
    on = {"key": "on", "type": "event", "config": {"event": "order.made"}}
    await acme.make("/workflows", {"name": "on event", "triggers": [on], "actions": [call(running)]})
    status, _ = await acme.call("POST", "/events", {"type": "order.made"}, traceparent=f"00-{OTHER}-{CALLER}-01")
    assert status == 202
    run: Tree = ("executor", "run", [("executor", "http_request call", [("executor", "POST", [])])])
    published: Tree = ("gateway", "accept", [("gateway", "publish", [run])])
    await seen(traces, OTHER, CALLER, [("gateway", "POST /api/v1/events", [published])])


async def test_a_slot_of_a_schedule_begins_a_trace_that_failed_attempts_and_logs_are_in(
    running: Installation, acme: Tenant, traces: Receiver
) -> None:
    tick = {"key": "tick", "type": "schedule", "config": {"type": "interval", "seconds": 1, "max_runs": 1}}
    failing = {**call(running), "key": "bad", "config": {"url": "http://127.0.0.1:1/x", "method": "GET"},
               "retry": {"max_attempts": 2, "initial_seconds": 0.05}}  # fmt: skip
    workflow = await acme.make("/workflows", {"name": "ticking", "triggers": [tick], "actions": [failing]})
    runs: list[Any] = []

    async def has_run() -> bool:
        runs[:] = (await acme.call("GET", f"/workflows/{workflow['id']}/executions?status=failed"))[1]["items"]
        return bool(runs)

    await until(has_run)
    trace_id = (await acme.ended(runs[0]["id"]))["trace_id"]
    attempt: Tree = ("executor", "http_request bad", [("executor", "GET", [])])
    run: Tree = ("executor", "run", [attempt, attempt])
    await seen(traces, trace_id, "", [("scheduler", "schedule", [("scheduler", "publish", [run])])])
    told = [(span.attributes["error.type"], span.failed) for span in traces.of(trace_id) if span.name in ("GET", "run")]
    assert told == [("connection", True)] * 3
    ends = [line for line in running.log_of("executor") if line["event"] == "execution ended"]
    assert [line["status"] for line in ends if line["trace_id"] == trace_id] == ["failed"]


async def test_a_trace_that_its_caller_does_not_sample_goes_on_and_is_not_sent(
    running: Installation, acme: Tenant, traces: Receiver
) -> None:
    quiet, workflow = "c" * 32, await acme.make("/workflows", {"name": "quiet", "actions": [call(running)]})
    status, answer = await acme.call(
        "POST", f"/workflows/{workflow['id']}/execute", {}, traceparent=f"00-{quiet}-{CALLER}-00"
    )
    assert status == 202
    await acme.ended(answer["execution_id"])
    assert running.echo.traceparents[-1] == f"00-{quiet}-{CALLER}-00"
    later = await acme.make(f"/workflows/{workflow['id']}/execute", {})
    run = await acme.ended(later["execution_id"])

    async def is_seen() -> bool:
        return any(span.name == "run" for span in traces.of(run["trace_id"]))

    await until(is_seen)
    assert traces.of(quiet) == []
    assert await running.metric("executor", 'signalbox_spans_total{outcome="exported"}') > 0


async def test_a_receiver_that_is_away_disturbs_nobody(running: Installation, acme: Tenant, traces: Receiver) -> None:
    workflow = await acme.make("/workflows", {"name": "undisturbed", "actions": [call(running)]})
    traces.status = 500
    for _ in range(5):
        started = await acme.make(f"/workflows/{workflow['id']}/execute", {})
        assert (await acme.ended(started["execution_id"]))["status"] == "completed"

    async def is_told() -> bool:
        return "the receiver of traces takes no spans" in [line["event"] for line in running.log_of("executor")]

    await until(is_told)
    traces.status = 200
    started = await acme.make(f"/workflows/{workflow['id']}/execute", {})
    run = await acme.ended(started["execution_id"])

    async def is_back() -> bool:
        return any(span.name == "run" for span in traces.of(run["trace_id"]))

    await until(is_back)
    assert all("Traceback" not in running.services[name].log.read_text() for name in running.services)
