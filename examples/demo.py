"""`make demo`: one tour of Signalbox on its embedded default.

Starts `signalbox up` in a fresh folder, makes a tenant, stores the three example workflows, fires them, follows them
live and prints every execution with every attempt. Exits 0 only if everything ended as it should.
"""

import asyncio
import hashlib
import hmac
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".demo"
CURL_PORT = 8000
DONE = {"completed", "failed", "cancelled", "timed_out"}

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


class Echo:
    """A stand-in for the world: answers what it got, but fails the first call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.calls.append({"key": request.headers.get("Idempotency-Key"), "body": body})
        if len(self.calls) == 1:
            return web.json_response({"error": "not yet"}, status=503)
        return web.json_response({"received": body})


class Api:
    """The REST API as one tenant sees it."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session, self.base = session, base
        self.headers: dict[str, str] = {}

    async def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        async with self.session.request(
            method, f"{self.base}/api/v1{path}", json=body, headers={**self.headers, **(headers or {})}
        ) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400:
                raise SystemExit(f"{method} {path} → {response.status}: {json.dumps(answer, indent=2)}")
            return answer


async def main() -> int:
    """The tour; returns the exit code."""
    shutil.rmtree(DATA, ignore_errors=True)
    async with running_echo() as (echo, echo_port), running_signalbox() as base, aiohttp.ClientSession() as session:
        api = Api(session, base)
        tenant, key = await make_tenant(api)
        api.headers = {"Authorization": f"Bearer {key}", "X-Tenant-ID": tenant}
        stored = {name: await store(api, name, echo_port) for name in ("payment", "heartbeat", "greeting")}
        big = await send_payment(session, stored["payment"], 12_050)
        await send_payment(session, stored["payment"], 0)
        manual = await api.call("POST", f"/workflows/{stored['greeting']['id']}/execute", {"input": {"name": "Ada"}})
        console.print("[bold]Live progress[/bold]")
        runs = await asyncio.gather(follow(api, "payment", big), follow(api, "greeting", manual["execution_id"]))
        ticks = await follow_schedule(api, stored["heartbeat"]["id"])
        for title, run in zip(
            ("Payment received", "Greeting", *["Heartbeat"] * len(ticks)), (*runs, *ticks), strict=True
        ):
            show(title, run)
        faults = check(runs[0], runs[1], ticks, echo)
        next_steps(tenant, key, stored)
    for fault in faults:
        console.print(f"[red]✗ {fault}[/red]")
    console.print("[green]✓ everything ended as it should[/green]" if not faults else "[red]the demo failed[/red]")
    return 1 if faults else 0


@asynccontextmanager
async def running_echo() -> AsyncGenerator[tuple[Echo, int]]:
    """A local HTTP endpoint on a free port."""
    echo = Echo()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield echo, port
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_signalbox() -> AsyncGenerator[str]:
    """`signalbox up` on a free port, ready; stopped as Ctrl-C would."""
    port = free_port()
    environment = {**os.environ, "SIGNALBOX_EGRESS_ALLOW": "127.0.0.0/8", "SIGNALBOX_LOG_LEVEL": "warning"}
    console.print(f"[bold]signalbox up[/bold] --port {port} --data {DATA.name}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", "up", "--port", str(port), "--data", str(DATA),
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    try:
        await until_ready(process, base)
        yield base
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def until_ready(process: asyncio.subprocess.Process, base: str) -> None:
    """Returns when /readyz is green. Exits when the process ends or takes longer than a minute."""
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            if process.returncode is not None:
                raise SystemExit("signalbox up did not start")
            try:
                async with session.get(f"{base}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise SystemExit("signalbox up was not ready within a minute")


async def make_tenant(api: Api) -> tuple[str, str]:
    """A tenant's slug and the key of its owner."""
    platform = {"Authorization": f"Bearer {json.loads((DATA / 'keys.json').read_text())['platform_key']}"}
    tenant = await api.call("POST", "/admin/tenants", {"slug": "acme", "name": "Acme"}, platform)
    key = await api.call("POST", f"/admin/tenants/{tenant['id']}/api-keys", {"name": "demo", "role": "owner"}, platform)
    console.print(f"tenant [bold]{tenant['slug']}[/bold] {tenant['id']}")
    return str(tenant["slug"]), str(key["key"])


async def store(api: Api, name: str, echo_port: int) -> Any:
    """Store an example workflow, its calls directed to the local echo."""
    text = (ROOT / "examples" / f"{name}.json").read_text().replace("127.0.0.1:9900", f"127.0.0.1:{echo_port}")
    workflow = await api.call("POST", "/workflows", json.loads(text))
    console.print(f"workflow [bold]{workflow['name']}[/bold] version {workflow['version']} {workflow['id']}")
    return workflow


def sign(secret: str, body: bytes) -> str:
    """The signature header of a body, as the sender of a webhook makes it."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def send_payment(session: aiohttp.ClientSession, workflow: Any, amount: int) -> str | None:
    """Post a signed payment; returns the execution's id, None when the conditions did not hold."""
    trigger = workflow["triggers"][0]
    body = json.dumps({"amount": amount, "customer": {"id": "cus_42"}}).encode()
    headers = {"X-Signature-256": sign(trigger["secret"], body), "Content-Type": "application/json"}
    async with session.post(trigger["url"], data=body, headers=headers) as response:
        answer = await response.json()
    console.print(f"webhook amount={amount} → {response.status} {answer['message']}")
    return answer.get("execution_id")


async def follow(api: Api, name: str, execution_id: str | None) -> Any:
    """Print the execution's progress as the server tells it (server-sent events); returns it when it has ended."""
    address = f"{api.base}/api/v1/executions/{execution_id}/stream"
    async with asyncio.timeout(30), api.session.get(address, headers=api.headers) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                run = json.loads(line.removeprefix(b"data: "))
                records = len(run["actions"])
                console.print(f"  {name:10} {run['status']:10} {run['progress']:>3} %  {records} records")
                if run["status"] in DONE:
                    return run
    raise SystemExit(f"{name} did not end")


async def follow_schedule(api: Api, workflow_id: str) -> list[Any]:
    """Wait for two runs of the schedule and follow them to their end."""
    for _ in range(100):
        items = (await api.call("GET", f"/workflows/{workflow_id}/executions"))["items"]
        if len(items) >= 2:
            return [await follow(api, "heartbeat", item["id"]) for item in items[:2]]
        await asyncio.sleep(0.1)
    raise SystemExit("the schedule did not fire twice within 10 seconds")


def show(title: str, run: Any) -> None:
    """One execution with every attempt."""
    table = Table(
        "action", "type", "attempt", "status", "ms", "input", "output / error",
        title=f"{title} · {run['trigger']['type']} · {run['status']} in {run['duration_ms']} ms · {run['id']}",
        title_justify="left",
    )  # fmt: skip
    for action in run["actions"]:
        result = action["output"] if action["error"] is None else action["error"]
        table.add_row(
            action["key"], action["type"], str(action["attempt"]), action["status"],
            "" if action["duration_ms"] is None else str(action["duration_ms"]), short(action["input"]), short(result),
        )  # fmt: skip
    console.print(table)


def short(value: Any) -> str:
    """JSON of a value, cut for a table."""
    text = "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."


def check(payment: Any, greeting: Any, ticks: list[Any], echo: Echo) -> list[str]:
    """What is not as it should be."""
    attempts = [(a["attempt"], a["status"]) for a in payment["actions"] if a["key"] == "crm"]
    claims = {
        "every execution completed": all(run["status"] == "completed" for run in (payment, greeting, *ticks)),
        "the call failed once and was retried": attempts == [(1, "failed"), (2, "completed")],
        "both attempts carried the same Idempotency-Key": len(echo.calls) == 2
        and len({c["key"] for c in echo.calls}) == 1,
        "the endpoint got the rendered body": echo.calls[-1]["body"] == {"customer": "cus_42", "euros": 120.5},
        "the condition skipped one action": {a["key"]: a["status"] for a in greeting["actions"]}["whisper"]
        == "skipped",
        "the output was rendered": greeting["output"] == {"greeting": "Hello, Ada!"},
    }
    return [claim for claim, holds in claims.items() if not holds]


def next_steps(tenant: str, key: str, stored: dict[str, Any]) -> None:
    """Lines that work as they stand."""
    greeting, payment = stored["greeting"]["id"], stored["payment"]["triggers"][0]
    body = '{"amount": 990, "customer": {"id": "cus_7"}}'
    base, auth = f"http://127.0.0.1:{CURL_PORT}", f"-H 'Authorization: Bearer {key}' -H 'X-Tenant-ID: {tenant}'"
    console.print("\n[bold]Try next[/bold] (this tour's data is kept in .demo until the next tour)", soft_wrap=True)
    execute = '-H \'Content-Type: application/json\' -d \'{"input": {"name": "Grace"}}\''
    signed = f"-H 'X-Signature-256: {sign(payment['secret'], body.encode())}' -H 'Content-Type: application/json'"
    for line in (
        f".venv/bin/signalbox up --data .demo --port {CURL_PORT}      # in one terminal; in another:",
        f"curl {base}/api/v1/workflows {auth}",
        f"curl {base}/api/v1/workflows/{greeting}/execute {auth} {execute}",
        f"curl {base}/webhooks/{payment['id']} {signed} -d '{body}'",
        f"curl '{base}/api/v1/executions?limit=3' {auth}",
    ):
        console.print(f"  {line}", soft_wrap=True, markup=False)
    console.print(f"  and in a browser: {base}/docs\n")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
