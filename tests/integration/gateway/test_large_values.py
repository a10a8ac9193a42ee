"""Large values stay in the database until somebody asks for one: everything that shows an execution links them."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import msgspec

from libs.common.clock import new_id
from libs.common.db.execution_views import StoredValue, find_execution, list_attempts
from libs.common.db.executions import change_executions
from libs.common.domain.execution import Failure
from services.gateway.app import create_app
from tests.factories import action_row, execution_change
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.following import gateway

BOUND = 65_536
AT_MOST = {"text": "x" * (BOUND - len('{"text":""}'))}
TOO_LARGE = {"text": "ü" * (BOUND // 2)}
"""Fewer characters than the bound, but more bytes."""


async def ended(world: World, *records: Any, output: Any = None) -> str:
    """An execution that has ended with these records; its input is `TOO_LARGE`."""
    made = await world.made(workflow(f"Large {new_id()}"))
    answer = await world.call("POST", f"/workflows/{made['id']}/execute", {"input": TOO_LARGE})
    execution_id = UUID(answer.json()["execution_id"])
    tenant = (await world.fetch("SELECT tenant_id FROM executions WHERE id = $1", execution_id))[0]["tenant_id"]
    change = execution_change(tenant, execution_id, 1, "completed", claims=True, records=records)
    change = msgspec.structs.replace(change, output=text(output))
    async with world.parts.database.connection() as connection:
        assert await change_executions(connection, new_id(), [change]) == {execution_id}
    return str(execution_id)


def text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def is_linked(shown: Any, value: Any) -> str:
    """Whether that is the link to that value; returns its address."""
    (link,) = shown.values()
    assert list(shown) == ["large_value"]
    assert (link["bytes"], link["preview"]) == (len(text(value).encode()), text(value)[:200])
    return str(link["url"]).removeprefix("/api/v1")


async def test_every_way_to_look_links_what_is_large_and_sends_what_is_not(acme: World) -> None:
    execution_id = await ended(acme, action_row(input=text(AT_MOST), output=text(TOO_LARGE)), output=TOO_LARGE)
    at = f"/executions/{execution_id}"
    shown = (await acme.call("GET", at)).json()
    (listed,) = (await acme.call("GET", "/executions")).json()["items"]
    (of_workflow,) = (await acme.call("GET", f"/workflows/{shown['workflow_id']}/executions")).json()["items"]
    async with gateway(acme) as served, served.following(execution_id) as events:
        streamed = await anext(events)
    for one in (shown, listed, of_workflow, streamed):
        is_linked(one["input"], TOO_LARGE)
        is_linked(one["output"], TOO_LARGE)
    (attempt,) = (await acme.call("GET", f"{at}/actions")).json()["items"]
    for one in (attempt, *shown["actions"], *streamed["actions"]):
        assert one["input"] == AT_MOST
        is_linked(one["output"], TOO_LARGE)
        assert one["error"] is None


async def test_a_link_gives_the_whole_value_to_the_letter(acme: World) -> None:
    inner = action_row(position=3, iteration=20_001, attempt=2, output=' {"a" : 1.50}' + " " * BOUND)
    execution_id = await ended(acme, inner)
    shown = (await acme.call("GET", f"/executions/{execution_id}")).json()
    whole = await acme.call("GET", is_linked(shown["input"], TOO_LARGE), role="viewer")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/json")
    assert whole.headers["content-length"] == str(len(whole.content))
    assert whole.json() == TOO_LARGE
    url = shown["actions"][0]["output"]["large_value"]["url"].removeprefix("/api/v1")
    assert (await acme.call("GET", url)).text == inner.output


async def test_a_large_error_is_linked_and_the_log_shows_how_it_begins(acme: World) -> None:
    error = msgspec.to_builtins(Failure("too_much", "m" * BOUND))
    skipped = action_row("skipped", position=1, error=text(error))
    execution_id = await ended(acme, action_row("failed", error=text(error)), skipped)
    shown = (await acme.call("GET", f"/executions/{execution_id}")).json()
    for attempt in shown["actions"]:
        assert (await acme.call("GET", is_linked(attempt["error"], error))).json() == error
        assert attempt["why"] is None
    log = await acme.call("GET", f"/executions/{execution_id}/logs")
    assert log.status_code == 200
    assert len(log.content) < 3000
    assert [line["event"] for line in log.json()["items"]].count("action.failed") == 1


async def test_the_bytes_do_not_leave_the_database(acme: World) -> None:
    execution_id = UUID(await ended(acme, action_row(output=text(TOO_LARGE)), output=TOO_LARGE))
    tenant = (await acme.fetch("SELECT tenant_id FROM executions"))[0]["tenant_id"]
    async with acme.parts.database.connection() as connection:
        execution = await find_execution(connection, tenant, execution_id, value_bytes=BOUND)
        (attempt,) = await list_attempts(connection, tenant, execution_id, value_bytes=BOUND)
    assert execution is not None
    cut = StoredValue(text(TOO_LARGE)[:200], len(text(TOO_LARGE).encode()), whole=False)
    assert [execution.input, execution.output, attempt.output] == [cut, cut, cut]


async def test_postgresql_keeps_values_aside(acme: World) -> None:
    """By TOAST: `x` is EXTENDED, compressed and out of the row."""
    columns = """
        SELECT attname, attstorage FROM pg_attribute WHERE attname IN ('input', 'output', 'error')
           AND attrelid IN ('executions'::regclass, 'action_executions'::regclass)
    """
    assert [row["attstorage"] for row in await acme.fetch(columns)] == [b"x"] * 6


async def test_what_looks_like_a_link_is_a_value_like_any_other(acme: World) -> None:
    fake = {"large_value": {"bytes": 1, "url": "/elsewhere", "preview": ""}}
    execution_id = await ended(acme, action_row(output=text(fake)))
    assert (await acme.call("GET", f"/executions/{execution_id}/actions")).json()["items"][0]["output"] == fake


async def test_the_bound_is_a_setting(acme: World) -> None:
    execution_id = await ended(acme, action_row(output=text("x" * 300)))
    settings = msgspec.structs.replace(acme.parts.settings, large_value_bytes=301)
    app: Any = create_app(replace(acme.parts, settings=settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as client:
        answer = await client.get(f"/api/v1/executions/{execution_id}/actions", headers=acme.headers("acme"))
    is_linked(answer.json()["items"][0]["output"], "x" * 300)


async def test_a_value_of_another_tenant_or_none_is_not_there(acme: World) -> None:
    execution_id = await ended(acme, action_row(output=None))
    at = f"/executions/{execution_id}/values"
    assert (await acme.call("GET", f"{at}/input")).status_code == 200
    missing = [
        f"{at}/error",
        f"{at}/actions/0/0/1/output",
        f"{at}/actions/0/0/9/input",
        f"{at}/actions/99999999999/0/1/input",
    ]
    answers = [await acme.call("GET", path) for path in missing]
    answers.append(await acme.call("GET", f"{at}/input", slug="other"))
    answers.append(await acme.call("GET", f"{at}/actions/0/0/1/input", slug="other"))
    assert {(one.status_code, one.json()["detail"]) for one in answers} == {(404, "There is no such value.")}
    assert (await acme.call("GET", f"{at}/state")).status_code == 422
    assert (await acme.client.get(f"/api/v1{at}/input")).status_code == 401
