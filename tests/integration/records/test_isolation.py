"""Every function of the tenant's data, by another tenant: it finds, changes and tells nothing."""

from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import new_id
from libs.common.db import collections, local_results, notifications, records
from libs.common.db.record_search import search_records
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.record_filters import RecordFilter, RecordOrder
from libs.common.domain.records import RecordKey
from tests.integration.records.conftest import NOW, Store, failed


async def test_local_actions(store: Store) -> None:
    where: dict[str, Any] = {"collection": "things", "id": await store.made({"a": 1}, tags=["x"])}
    async with store.database.connection() as connection:
        await collections.insert_collection(
            connection, store.acme, "private", description="", schema=None, now=NOW
        )  # fmt: skip
    results = await store.do(
        store.write("update_record", store.other, **where, data={"a": 2}),
        store.write("update_field", store.other, **where, field="a", value=2),
        store.write("add_tag", store.other, **where, tag="y"),
        store.write("delete_record", store.other, **where),
        store.write("update_lead", store.other, id=where["id"], status="x"),
        store.write("create_record", store.other, collection="private", data={}),
    )
    assert [failed(result) for result in results] == ["not_found"] * 6
    with pytest.raises(ActionFailed, match="no collection"):
        await store.find(store.other, collection="private")
    assert await store.found(store.other) == []
    assert await store.found(store.other, filter={"a": 1}) == []
    assert await store.found(store.other, tags="x", sort="a") == []
    mine = await store.found()
    assert [(row["data"], row["tags"], row["version"]) for row in mine] == [({"a": 1}, ["x"], 1)]


async def test_the_same_key_of_two_tenants_is_two_actions(store: Store) -> None:
    write = store.write("create_record", collection="things", data={"a": 1})
    await store.do(write)
    key = (store.other, write.execution_id, write.key)
    async with store.database.connection() as connection:
        assert await local_results.find_results(connection, [key]) == {}
        assert len(await local_results.find_results(connection, [(store.acme, *key[1:])])) == 1


async def test_records(store: Store) -> None:
    record_id = UUID(await store.made({"a": 1}))
    async with store.database.transaction() as connection:
        foreign = RecordKey(store.other, "things", record_id)
        assert await records.find_record(connection, *foreign) is None
        assert await records.lock_records(connection, [foreign]) == {}
        own = await records.find_record(connection, store.acme, "things", record_id)
        assert own is not None
        found = await search_records(
            connection, store.other, "things", RecordFilter(), RecordOrder(), after=None, limit=9, offset=0
        )
        assert found == []


async def test_collections(store: Store) -> None:
    async with store.database.transaction() as connection:
        await collections.insert_collection(connection, store.acme, "private", description="", schema=None, now=NOW)
        foreign = (store.other, "private")
        assert await collections.find_collection(connection, *foreign) is None
        assert await collections.lock_collection(connection, *foreign) is None
        assert await collections.hold_collections(connection, [foreign], [], NOW) == {}
        assert not await collections.delete_collection(connection, *foreign, with_records=False)
        await collections.delete_collection(connection, *foreign, with_records=True)
        listed = await collections.list_collections(connection, store.other, after=None, limit=9, offset=0)
        assert [row.name for row in listed] == ["things"]
        assert await collections.find_collection(connection, store.acme, "private") is not None
        await collections.delete_collection(connection, store.other, "things", with_records=True)
        assert await collections.find_collection(connection, store.acme, "things") is not None


async def test_notifications(store: Store) -> None:
    made = (await store.one("send_notification", message="x", user="ann")).output["id"]
    async with store.database.connection() as connection:
        for user in (None, "ann"):
            assert await notifications.mark_all_read(connection, store.other, user, NOW) == 0
            assert await notifications.list_notifications(
                connection, store.other, user=user, unread=None, after=None, limit=9, offset=0
            ) == []  # fmt: skip
        assert await notifications.mark_read(connection, store.other, UUID(made), NOW) is None
        assert await notifications.mark_read(connection, store.acme, new_id(), NOW) is None
        (mine,) = await notifications.list_notifications(
            connection, store.acme, user="ann", unread=True, after=None, limit=9, offset=0
        )
    assert (mine.read_at, mine.user_id) == (None, "ann")
