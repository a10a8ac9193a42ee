"""What each local action does, alone and in batches, and that none does it twice."""

from functools import reduce
from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db.collections import insert_collection
from libs.common.db.local_writes import perform_local_writes
from tests.integration.records.conftest import NOW, Store, failed


async def test_create_update_and_delete(store: Store) -> None:
    made = await store.one("create_record", collection="things", data={"a": 1, "b": {"c": 2, "d": 3}}, tags=["x"])
    document: dict[str, Any] = made.output
    assert (document["version"], document["data"]["b"], document["tags"]) == (1, {"c": 2, "d": 3}, ["x"])
    assert document["created_at"] == "2026-11-21T09:30:00Z"
    assert made.change is not None
    assert (made.change.old, str(made.change.new and made.change.new.id)) == (None, document["id"])
    where: dict[str, Any] = {"collection": "things", "id": document["id"]}
    changed = await store.one("update_record", **where, data={"a": None, "b": {"c": 5}}, version=1)
    assert (changed.output["version"], changed.output["data"]) == (2, {"b": {"c": 5, "d": 3}})
    assert changed.change is not None
    assert changed.change.old == made.change.new
    field = await store.one("update_field", **where, field="b.e", value=["f"])
    assert field.output["data"]["b"] == {"c": 5, "d": 3, "e": ["f"]}
    assert [row["data"] for row in await store.found()] == [field.output["data"]]
    gone = await store.one("delete_record", **where)
    assert gone.output == {"id": document["id"], "collection": "things", "deleted": True}
    assert gone.change is not None
    assert gone.change.new is None
    assert await store.found() == []
    assert failed(await store.one("delete_record", **where)) == "not_found"
    assert (await store.one("delete_record", **where, missing_ok=True)).output["deleted"] is False


async def test_friendly_actions(store: Store) -> None:
    task = await store.one(
        "create_task", title="Call back", due_date="+3 days", assignee="ann", data={"deal": "d1"}, tags="hot"
    )
    assert task.output["collection"] == "tasks"
    assert task.output["tags"] == ["hot"]
    assert task.output["data"] == {
        "deal": "d1", "title": "Call back", "due_date": "2026-11-24T09:30:00Z", "assignee": "ann", "status": "open",
    }  # fmt: skip
    weekly = await store.one("create_task", title=7, due_date="+1 week")
    assert (weekly.output["data"]["title"], weekly.output["data"]["due_date"]) == ("7", "2026-11-28T09:30:00Z")
    dated = await store.one("create_task", title="x", due_date="2026-12-24")
    assert dated.output["data"]["due_date"] == "2026-12-24T00:00:00Z"
    deal = await store.one("create_deal", title="Big", amount="1200.50", currency="EUR", contact={"name": "Bo"})
    assert deal.output["data"] == {
        "title": "Big", "amount": 1200.5, "currency": "EUR", "stage": "new", "contact": {"name": "Bo"},
    }  # fmt: skip
    lead = await store.one("create_record", collection="leads", data={"name": "Cy", "phone": "1"})
    where: dict[str, Any] = {"id": lead.output["id"]}
    changed = await store.one("update_lead", **where, status="qualified", score="80", phone=None, data={"x": 1})
    assert changed.output["data"] == {"name": "Cy", "status": "qualified", "score": 80, "x": 1}
    tagged = await store.one("add_tag", collection="leads", tag="vip", tags=["new", "vip"], **where)
    assert (tagged.output["tags"], tagged.output["version"]) == (["vip", "new"], 3)
    again = await store.one("add_tag", collection="leads", tag="vip", **where)
    assert (again.output["version"], again.change) == (3, None), "what changes nothing makes no version"


async def test_notifications(store: Store) -> None:
    made = await store.one("send_notification", message="Hello", user="ann", level="warning", link="/deals/1")
    assert made.output["user"] == "ann"
    async with store.database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM notifications")
    assert row is not None
    assert (row["tenant_id"], row["id"], row["user_id"]) == (store.acme, UUID(made.output["id"]), "ann")
    assert (row["level"], row["message"], row["link"], row["read_at"]) == ("warning", "Hello", "/deals/1", None)


SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "number", "minimum": 0}, "name": {"type": "string"}},
    "required": ["amount"],
}


async def test_a_schema_is_kept(store: Store) -> None:
    async with store.database.connection() as connection:
        await insert_collection(connection, store.acme, "payments", description="", schema=SCHEMA, now=NOW)
    bad = await store.one("create_record", collection="payments", data={"amount": -1, "name": 3})
    assert failed(bad) == "schema"
    assert bad.failure is not None
    assert "data.amount" in bad.failure.message
    assert "data.name" in bad.failure.message
    made = await store.one("create_record", collection="payments", data={"amount": 10**40})
    assert failed(made) is None
    where: dict[str, Any] = {"collection": "payments", "id": made.output["id"]}
    assert failed(await store.one("update_record", **where, data={"amount": None})) == "schema"
    assert await store.count("records") == 1


DEEP: Any = reduce(lambda inner, _: [inner], range(2_000), list[Any]())
SOME = str(new_id())

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("create_record", {"collection": "nothing", "data": {}}, "not_found"),
    ("create_record", {"collection": "things", "data": {"a": "x\0y"}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {"x\0y": 1}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {"a": "\ud800"}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {"a": float("nan")}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {"a": 10**5000}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {"a": DEEP}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {"a": "x" * 300_000}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {"a": NOW}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": [1]}, "invalid_config"),
    ("create_record", {"collection": "things", "data": None}, "invalid_config"),
    ("create_record", {"collection": "th\0ings", "data": {}}, "invalid_config"),
    ("create_record", {"collection": {"a": 1}, "data": {}}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {}, "tags": ["a\0"]}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {}, "tags": [1]}, "invalid_config"),
    ("create_record", {"collection": "things", "data": {}, "tags": {"a": 1}}, "invalid_config"),
    ("update_record", {"collection": "things", "id": "x", "data": {}}, "invalid_config"),
    ("update_record", {"collection": "things", "id": SOME, "data": {}}, "not_found"),
    ("update_record", {"collection": "things", "id": SOME, "field": "a..b", "value": 1}, "invalid_config"),
    ("update_record", {"collection": "things", "id": SOME, "data": {}, "version": 0}, "invalid_config"),
    ("update_record", {"collection": "things", "id": SOME, "data": {}, "version": "1" * 30}, "invalid_config"),
    ("delete_record", {"collection": "nothing", "id": SOME}, "not_found"),
    ("add_tag", {"collection": "things", "id": SOME, "tag": ""}, "invalid_config"),
    ("create_task", {"title": " "}, "invalid_config"),
    ("create_task", {"title": "x", "due_date": "+3 fortnights"}, "invalid_config"),
    ("create_task", {"title": "x", "due_date": "+9999999 years"}, "invalid_config"),
    ("create_deal", {"title": "x", "amount": "much"}, "invalid_config"),
    ("create_deal", {"title": "x", "amount": "nan"}, "invalid_config"),
    ("update_lead", {"id": SOME, "name": "x"}, "not_found"),
    ("send_notification", {"message": ""}, "invalid_config"),
    ("send_notification", {"message": "x", "level": "loud"}, "invalid_config"),
    ("send_notification", {"message": "x\0"}, "invalid_config"),
    ("unheard_of", {}, "internal"),
]


async def test_a_bad_value_fails_alone(store: Store) -> None:
    """All of them in one transaction with good ones around, which are done."""
    writes = [store.write("create_record", collection="things", data={"n": 0})]
    for number, (type_name, config, _) in enumerate(BAD, start=1):
        writes.append(store.write(type_name, **config))
        writes.append(store.write("create_record", collection="things", data={"n": number}))
    results = await store.do(*writes)
    assert [failed(result) for result in results[1::2]] == [error_class for _, _, error_class in BAD]
    assert [failed(result) for result in results[::2]] == [None] * (len(BAD) + 1)
    assert [row["data"]["n"] for row in await store.found(sort="n", limit=100)] == list(range(len(BAD) + 1))
    assert await store.count("notifications") == 0
    assert await store.count("local_results") == len(BAD) + 1


async def test_every_fault_is_named(store: Store) -> None:
    result = await store.one("create_task", title="", due_date="soon", tags=[1], data={"a": "\0"})
    assert result.failure is not None
    for path in ("title", "due_date", "tags[0]", "data.a"):
        assert f"{path} " in result.failure.message


async def test_a_batch_of_many_tenants(store: Store) -> None:
    writes = [
        store.write("create_record", tenant, collection="things", data={"n": n})
        for n in range(200)
        for tenant in (store.acme, store.other)
    ]
    results = await store.do(*writes)
    assert [result.output["data"]["n"] for result in results] == [n for n in range(200) for _ in range(2)]
    for tenant in (store.acme, store.other):
        found = await store.found(tenant, sort="n", limit=100)
        assert [row["data"]["n"] for row in found] == list(range(100))


async def test_writes_to_one_record_are_done_in_order(store: Store) -> None:
    where: dict[str, Any] = {"collection": "things", "id": await store.made({"a": 0})}
    results = await store.do(
        store.write("update_record", **where, data={"a": 1}),
        store.write("add_tag", **where, tag="x"),
        store.write("update_record", **where, data={"a": 2}, version=2),
        store.write("update_record", **where, data={"b": 2}, version=3),
    )
    assert [failed(result) for result in results] == [None, None, "conflict", None]
    final = results[3].output
    assert (final["version"], final["data"], final["tags"]) == (4, {"a": 1, "b": 2}, ["x"])
    assert await store.found(filter={"a": 1}) == [final]
    gone, late = await store.do(
        store.write("delete_record", **where), store.write("update_record", **where, data={"a": 3})
    )
    assert (failed(gone), failed(late)) == (None, "not_found")
    assert await store.found() == []


async def test_what_was_committed_is_not_done_again(store: Store) -> None:
    """The journal tries again when the answer of a commit was lost: with the same writes."""
    kept: dict[str, Any] = {"collection": "things", "id": await store.made({"n": 1})}
    lost: dict[str, Any] = {"collection": "things", "id": await store.made({"n": 2})}
    writes = [
        store.write("create_record", collection="things", data={"n": 3}),
        store.write("update_record", **kept, data={"n": 4}),
        store.write("delete_record", **lost),
        store.write("send_notification", message="x"),
        store.write("update_record", **kept, data={"n": 5}, version=1),
    ]
    first = await store.do(*writes)
    for _ in range(2):
        again = await store.do(*writes)
        assert [(one.output, failed(one)) for one in again] == [(one.output, failed(one)) for one in first]
        assert [one.change for one in again] == [None] * 5
    found = await store.found(sort="n")
    assert [(row["data"]["n"], row["version"]) for row in found] == [(3, 1), (4, 2)]
    assert await store.count("notifications") == 1


async def test_what_was_rolled_back_is_done_when_tried_again(store: Store) -> None:
    write = store.write("create_record", collection="things", data={"n": 1})
    with pytest.raises(RuntimeError):
        async with store.database.transaction() as connection:
            await perform_local_writes(connection, [write])
            raise RuntimeError
    assert await store.found() == []
    assert failed((await store.do(write))[0]) is None
    assert len(await store.found()) == 1


async def test_a_tenant_that_is_gone(store: Store) -> None:
    results = await store.do(
        store.write("create_task", new_id(), title="x"), store.write("send_notification", new_id(), message="x")
    )
    assert [failed(result) for result in results] == ["not_found", "not_found"]
