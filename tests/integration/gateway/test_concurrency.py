"""A workflow's concurrency and what it refers to, through the API: stored, patched, refused with every fault, and what
a queued execution says of itself.
"""

from typing import Any
from uuid import UUID

from libs.common.db.concurrency import Entry, enter
from libs.common.db.controlling import pause_execution
from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow

CONCURRENCY = {"key": "{{ input.customer }}", "limit": 1, "policy": "queue"}


def paths(answer: Any) -> set[str]:
    """Where the faults of an answer are."""
    assert answer.status_code == 422, answer.text
    return {fault["path"] for fault in answer.json()["errors"]}


async def test_it_is_stored_with_every_version_and_can_be_patched(acme: World) -> None:
    made = await acme.made(workflow(concurrency=CONCURRENCY))
    path = f"/workflows/{made['id']}"
    assert made["concurrency"] == CONCURRENCY
    shown = (await acme.call("GET", path)).json()
    assert (await acme.call("PUT", path, shown)).json()["concurrency"] == CONCURRENCY
    patched = await acme.call("PATCH", path, {"concurrency": {"limit": 3, "policy": None}})
    assert patched.json()["concurrency"] == {"key": "{{ input.customer }}", "limit": 3}
    assert (await acme.call("PATCH", path, {"concurrency": None})).json()["concurrency"] is None
    first = (await acme.call("GET", f"{path}/versions/1")).json()
    assert first["definition"]["concurrency"] == CONCURRENCY


async def test_every_fault_has_its_path(acme: World) -> None:
    wrong = {"key": "{{ secrets.KEY }}", "limit": 0, "policy": "drop", "max": 1}
    answer = await acme.call("POST", "/workflows", workflow(concurrency=wrong, on_failure="Nobody"))
    assert paths(answer) == {
        "concurrency.key", "concurrency.limit", "concurrency.policy", "concurrency.max", "on_failure",
    }  # fmt: skip
    assert await acme.count("workflows") == 0


async def test_the_description_has_it(acme: World) -> None:
    schemas = (await acme.client.get("/schema/openapi.json")).json()["components"]["schemas"]
    assert set(schemas["Concurrency"]["properties"]) == {"key", "limit", "policy"}
    assert {"concurrency", "on_failure"} <= set(schemas["Definition"]["properties"])
    assert set(schemas["QueuedFor"]["properties"]) == {"key", "limit", "place", "held_by"}


async def test_on_failure_names_another_workflow_that_is_there(acme: World) -> None:
    alarm = await acme.made(workflow("Alarm"))
    await acme.made(workflow("Theirs"), slug="other")
    for reference in ("Alarm", alarm["id"]):
        made = await acme.made(workflow(f"By {reference}", on_failure=reference))
        assert made["on_failure"] == reference
    path = f"/workflows/{made['id']}"
    for reference in ("Nobody", "Theirs", f"By {alarm['id']}", made["id"], "", 5, "a\0b"):
        assert paths(await acme.call("PATCH", path, {"on_failure": reference})) == {"on_failure"}
    assert paths(await acme.call("POST", "/workflows", workflow("Me", on_failure="Me"))) == {"on_failure"}
    assert (await acme.call("GET", path)).json()["version"] == 1
    assert (await acme.call("PATCH", path, {"on_failure": None})).json()["on_failure"] is None


async def test_a_workflow_that_is_deleted_cannot_be_named(acme: World) -> None:
    alarm = await acme.made(workflow("Alarm"))
    assert (await acme.call("DELETE", f"/workflows/{alarm['id']}")).status_code == 204
    for reference in ("Alarm", alarm["id"]):
        assert paths(await acme.call("POST", "/workflows", workflow("B", on_failure=reference))) == {"on_failure"}


async def test_a_queued_execution_says_what_it_waits_for(acme: World) -> None:
    made = await acme.made(workflow(concurrency=CONCURRENCY))
    ids: list[str] = []
    for _ in range(3):
        answer = await acme.call("POST", f"/workflows/{made['id']}/execute", {"input": {"customer": "c1"}})
        ids.append(answer.json()["execution_id"])
    tenant = (await acme.fetch("SELECT tenant_id FROM executions LIMIT 1"))[0]["tenant_id"]
    entries = [Entry(tenant, UUID(made["id"]), UUID(one), "c1", 1, "queue") for one in ids]
    async with acme.parts.database.connection() as connection:
        assert [one.answer for one in await enter(connection, entries)] == ["held", "queued", "queued"]
        assert (await acme.call("GET", f"/executions/{ids[2]}")).json()["waiting_for"] is None
        for one in ids[1:]:
            assert await pause_execution(connection, tenant, UUID(one))
    shown = [(await acme.call("GET", f"/executions/{one}")).json()["waiting_for"] for one in ids]
    assert shown == [
        None,
        {"concurrency": {"key": "c1", "limit": 1, "place": 1, "held_by": [ids[0]]}},
        {"concurrency": {"key": "c1", "limit": 1, "place": 2, "held_by": [ids[0]]}},
    ]
