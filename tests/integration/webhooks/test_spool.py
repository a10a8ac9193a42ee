"""A PostgreSQL that stops under a service with a spool: calls are answered 202 and each runs once when it is back,
whatever happens to the process in between.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.db.migrate import migrate
from libs.common.embedded.postgres import EmbeddedPostgres
from services.webhooks.app import WebhooksService
from services.webhooks.spool import read_calls
from tests.integration.conftest import World
from tests.integration.webhooks.conftest import BODY, JSON, made_trigger, outcomes
from tests.waiting import until


@pytest.fixture
async def database_dsn(server: EmbeddedPostgres) -> str:
    """The world of these tests lives on that server."""
    dsn = await server.start()
    await migrate(dsn)
    return dsn


@asynccontextmanager
async def serving(world: World, folder: Path, **settings: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """A running service that spools there."""
    service = WebhooksService(world.service_parts(spool_dir=str(folder), cache_seconds=0.0, **settings))
    await service.start()
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks.test") as client:
        yield client
    await service.stop()


def spooled(folder: Path) -> list[str]:
    """Outcomes of the calls that wait on the disk, oldest first."""
    calls = [call for path in sorted(folder.glob("*.spool")) for call in read_calls(path.read_bytes())[0]]
    return [call.row.outcome for call in calls]


async def delivered(folder: Path) -> None:
    async def is_empty() -> bool:
        return list(folder.iterdir()) == []

    await until(is_empty)


async def test_calls_are_kept_while_the_server_is_away_and_run_once_it_is_back(
    acme: World, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    folder, trigger = tmp_path / "spool", await made_trigger(acme)
    path = f"/webhooks/{trigger['id']}/{trigger['token']}"
    async with serving(acme, folder) as client:
        assert (await client.post(path, content=BODY, headers=JSON)).status_code == 202
        await server.stop()
        named = {**JSON, "Idempotency-Key": "one"}
        away = [await client.post(path, content=BODY, headers=headers) for headers in (JSON, named, named)]
        refused = await client.post(f"/webhooks/{trigger['id']}/wrong", content=BODY, headers=JSON)
        unknown = await client.post("/webhooks/01910000-0000-7000-8000-000000000000", content=BODY)
        assert [answer.status_code for answer in (*away, refused, unknown)] == [202, 202, 202, 401, 503]
        assert spooled(folder) == ["accepted", "accepted", "accepted", "bad_token"]
        await server.start()
        await delivered(folder)
        assert (await client.post(path, content=BODY, headers=JSON)).status_code == 202
    rows = await acme.fetch("SELECT outcome, execution_id::text FROM webhook_logs ORDER BY id")
    assert [row["outcome"] for row in rows] == ["accepted"] * 3 + ["duplicate", "bad_token", "accepted"]
    first, second, third = [answer.json()["execution_id"] for answer in away]
    assert [row["execution_id"] for row in rows[1:4]] == [first, second, second]
    assert third != second  # nobody could know yet
    executions = {str(row["id"]) for row in await acme.fetch("SELECT id FROM executions")}
    assert ({first, second} < executions, len(executions)) == (True, 4)


async def test_what_a_process_that_died_left_is_delivered_once_by_the_next(
    acme: World, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """The files come back as they were in the middle of the delivery: some calls are stored, the files still there."""
    folder, trigger = tmp_path / "spool", await made_trigger(acme)
    path = f"/webhooks/{trigger['id']}/{trigger['token']}"
    async with serving(acme, folder) as client:
        assert (await client.post(path, content=BODY, headers=JSON)).status_code == 202
        await server.stop()
        ids = [(await client.post(path, content=BODY, headers=JSON)).json()["execution_id"] for _ in range(5)]
    left = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert len(left) == 1
    await server.start()
    for torn in (b"", b"\x00\x00\x01\x00torn", b"\x00\x00", bytes(64)):
        for name, data in left.items():
            (folder / name).write_bytes(data + torn)
        async with serving(acme, folder):
            await delivered(folder)
    rows = await acme.fetch("SELECT id FROM executions ORDER BY id")
    assert [str(row["id"]) for row in rows[1:]] == ids
    assert await outcomes(acme) == [("accepted", 202, True)] * 6


async def test_a_full_spool_answers_503(acme: World, server: EmbeddedPostgres, tmp_path: Path) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}})
    async with serving(acme, tmp_path / "spool", spool_bytes=6_000) as client:
        assert (await client.post(f"/webhooks/{trigger['id']}", content=BODY)).status_code == 202
        await server.stop()
        answers = [await client.post(f"/webhooks/{trigger['id']}", content=b'"' + b"x" * 1500 + b'"') for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 503, 503, 503]
        assert answers[-1].headers["retry-after"]
        await server.start()
        await delivered(tmp_path / "spool")
    assert await acme.count("executions") == 2


async def test_much_is_kept_in_several_files(acme: World, server: EmbeddedPostgres, tmp_path: Path) -> None:
    folder, trigger = tmp_path / "spool", await made_trigger(acme, config={"auth": {"type": "none"}})
    large = b'"' + b"x" * 1_000_000 + b'"'
    async with serving(acme, folder) as client:
        assert (await client.post(f"/webhooks/{trigger['id']}", content=BODY)).status_code == 202
        await server.stop()
        answers = [await client.post(f"/webhooks/{trigger['id']}", content=large) for _ in range(6)]
        assert {answer.status_code for answer in answers} == {202}
        assert [path.stat().st_size > 8 * 1024 * 1024 for path in sorted(folder.iterdir())] == [True, False]
        await server.start()
        await delivered(folder)
    rows = await acme.fetch("SELECT id::text FROM executions ORDER BY id")
    assert [row["id"] for row in rows[1:]] == [answer.json()["execution_id"] for answer in answers]


async def test_who_would_wait_for_the_workflow_is_answered_at_once(
    acme: World, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    trigger = await made_trigger(acme, config={"auth": {"type": "none"}, "response": {"mode": "sync"}})
    plain = await made_trigger(acme, config={"auth": {"type": "none"}, "methods": ["GET"]})
    async with serving(acme, tmp_path / "spool") as client:
        assert (await client.get(f"/webhooks/{trigger['id']}")).status_code == 405  # it is known from here on
        assert (await client.get(f"/webhooks/{plain['id']}")).status_code == 202
        await server.stop()
        answer = await client.post(f"/webhooks/{trigger['id']}", content=BODY)
        assert (answer.status_code, answer.json()["success"]) == (202, True)
        await server.start()
        await delivered(tmp_path / "spool")
