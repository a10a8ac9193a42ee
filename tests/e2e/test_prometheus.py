"""What we ship for Prometheus and Grafana has answers: a real Prometheus reads four services under load and a broker,
and every query of every panel and of every rule returns data.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client import parser
from prometheus_client.core import Metric

from tests.e2e.installation import Installation, Tenant, example, installation, signature
from tests.e2e.prometheus import Prometheus
from tests.servers import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("prometheus")]

GRAFANA = ROOT / "deploy" / "grafana"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TARGETS = {"gateway": 8000, "webhooks": 8001, "scheduler": 8002, "executor": 8003}
SELECTOR = re.compile(r"\b(?:signalbox[_:]|rabbitmq_|up\b)[a-zA-Z0-9_:]*(?:\{[^}]*\})?")
"""A series with its labels: what a rule reads."""

LISTED = re.compile(r"^\| `(signalbox_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
NOT_HERE = {
    "signalbox_exchange_messages_total", "signalbox_limit_refusals_total", "signalbox_schedule_slots_missed_total",
    "signalbox_spans_total",
}  # fmt: skip
"""What an installation like this one does not report: it has no exchange of a platform, nobody stands at a limit, it
exports no traces and misses no slot.
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    settings = {"SIGNALBOX_METRICS_TENANTS": "all", "SIGNALBOX_WATCH_SECONDS": "1"}
    async with installation(tmp_path_factory.mktemp("metered"), True, **settings) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(running: Installation) -> AsyncIterator[Prometheus]:
    real = {f"{name}:{port}": f"127.0.0.1:{running.services[name].port}" for name, port in TARGETS.items()}
    real["rabbitmq:15692"] = f"127.0.0.1:{running.rabbitmq.metrics_port}"
    server = Prometheus(running.folder / "prometheus", real)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        await server.start()
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(running: Installation) -> AsyncIterator[Tenant]:
    """A tenant that is always busy: calls with retries, refused ones, waits, a schedule, somebody who looks on."""
    async with running.tenant("busy") as made, asyncio.TaskGroup() as group:
        workflow = json.loads(json.dumps(example("payment", running.echo)).replace("/payments", "/flaky"))
        trigger = (await made.make("/workflows", workflow))["triggers"][0]
        trigger["url"] = f"{running.services['webhooks'].url}/webhooks/{trigger['id']}"
        await made.make("/workflows", example("heartbeat", running.echo))
        later = {"name": "Later", "actions": [{"key": "later", "type": "wait", "config": {"until": "+3 seconds"}}]}
        waiting = await made.make("/workflows", later)
        work = [
            group.create_task(_pay(made, trigger, trigger["secret"])),
            group.create_task(_pay(made, trigger, "not the secret")),
            group.create_task(_start(made, waiting["id"])),
        ]
        yield made
        for task in work:
            task.cancel()


async def _pay(tenant: Tenant, trigger: dict[str, Any], secret: str) -> None:
    """Call after call, each when the execution of the one before has ended."""
    body = b'{"amount": 12050, "customer": {"id": "cus_42"}}'
    headers = {
        "X-Signature-256": signature(secret, body), "Content-Type": "application/json",
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    }  # fmt: skip
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.post(trigger["url"], data=body, headers=headers) as response:
                answer = await response.json()
            if response.status == 202:
                await tenant.ended(answer["execution_id"])
            else:
                await tenant.call("GET", "/workflows", traceparent=headers["traceparent"])


async def _start(tenant: Tenant, workflow_id: str) -> None:
    while True:
        started = await tenant.make(f"/workflows/{workflow_id}/execute", {"input": {}})
        await tenant.ended(started["execution_id"])


def queries_of_panels(tenant_id: str) -> Iterator[tuple[str, str]]:
    """Where a query stands, and the query as Grafana sends it."""
    for file in sorted(GRAFANA.glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                text = target["expr"].replace("$__rate_interval", "5s").replace("$tenant", tenant_id)
                assert "$" not in text, "a variable that this test does not know"
                yield f"{board['title']} / {panel['title']}", text
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{board['title']} / ${variable['name']}", variable["query"]["query"][len("query_result(") : -1]


def parse(text: str) -> list[Metric]:
    """What Prometheus's own text format says."""
    return list(parser.text_string_to_metric_families(text))  # pyright: ignore


async def all_answered(prometheus: Prometheus, wanted: dict[str, str], seconds: float = 30) -> None:
    """Every query has had an answer; the names of those that have none are what fails."""
    missing = dict(wanted)

    async def answered() -> bool:
        for query in tuple(missing):
            if await prometheus.values(query):
                del missing[query]
        return not missing

    try:
        await until(answered, seconds)
    except TimeoutError:
        pytest.fail("no data for:\n" + "\n".join(f"{where}: {query}" for query, where in missing.items()))


async def test_every_target_can_be_read(running: Installation, prometheus: Prometheus) -> None:
    async def all_up() -> bool:
        targets = (await prometheus.ask("targets"))["activeTargets"]
        return len(targets) == len(TARGETS) + 2 and all(target["health"] == "up" for target in targets)

    await until(all_up)


async def test_every_query_of_every_panel_returns_data(
    running: Installation, prometheus: Prometheus, tenant: Tenant
) -> None:
    [row] = await running.fetch("SELECT tenant_id FROM tenants WHERE slug = 'busy'")
    wanted = {query: where for where, query in queries_of_panels(str(row["tenant_id"]))}
    assert len(wanted) > 100
    await all_answered(prometheus, wanted)


async def test_everything_that_a_rule_reads_is_there(prometheus: Prometheus, tenant: Tenant) -> None:
    groups = (await prometheus.ask("rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    wanted = {series: rule["name"] for rule in rules for series in SELECTOR.findall(rule["query"])}
    assert len(rules) > 20
    await all_answered(prometheus, wanted)
    broken = [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")]
    assert broken == []


async def test_a_healthy_installation_under_load_alarms_nobody(prometheus: Prometheus, tenant: Tenant) -> None:
    async def all_is_quiet() -> bool:
        groups = (await prometheus.ask("rules"))["groups"]
        alerts = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
        assert len(alerts) > 15
        return all(rule["lastEvaluation"] > "2000" and rule["state"] == "inactive" for rule in alerts)

    await until(all_is_quiet)


async def test_the_page_lists_what_the_services_report(running: Installation, tenant: Tenant) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    listed = {name: (kind, set(labels.split())) for name, kind, labels in LISTED.findall(page)}
    reported: dict[str, tuple[str, set[str]]] = {}

    async def all_is_reported() -> bool:
        for service in running.services.values():
            reported.update(await series_of(service.url))
        return set(listed) - set(reported) <= NOT_HERE

    await until(all_is_reported)
    assert {name: listed.get(name) for name in reported} == reported


async def series_of(url: str) -> dict[str, tuple[str, set[str]]]:
    """Kind and labels, as the page writes them, of every series of ours that a service reports."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        text = await response.text()
    found: dict[str, tuple[str, set[str]]] = {}
    for family in parse(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        if family.samples and not name.startswith("process_"):
            found[name] = family.type, {f"`{label}`" for one in family.samples for label in one.labels} - {"`le`"}
    return found


async def test_what_the_runbooks_ask_the_broker_it_answers(running: Installation) -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "runbooks").glob("*.md"))
    commands = set(re.findall(r"^rabbitmqctl (.*)$", pages, re.MULTILINE))
    assert "purge_queue signalbox.dead" in commands
    for command in commands:
        await running.rabbitmq.control(*command.split())


async def test_what_the_runbooks_ask_the_database_it_understands(running: Installation) -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "runbooks").glob("*.md"))
    questions = re.findall(r"```sql\n(.*?)```", pages, re.DOTALL)
    assert len(questions) > 5
    for question in questions:
        await running.fetch(question)


async def test_exemplars_lead_to_the_trace(prometheus: Prometheus, tenant: Tenant) -> None:
    async def found() -> bool:
        wanted = {"start": "0", "end": "4000000000"}
        doors = [f'http_request_seconds_bucket{{service="{name}"}}' for name in ("gateway", "webhooks")]
        for name in (*doors, "execution_seconds_bucket", "action_seconds_bucket"):
            series = await prometheus.ask("query_exemplars", query=f"signalbox_{name}", **wanted)
            traces = {exemplar["labels"]["trace_id"] for one in series for exemplar in one["exemplars"]}
            if TRACE not in traces:
                return False
        return True

    await until(found)
