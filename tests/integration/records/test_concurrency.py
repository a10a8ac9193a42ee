"""Several transactions at once: versions are kept, nobody waits in a circle, nothing is half done."""

import asyncio
from typing import Any

from libs.common.db import collections
from libs.common.db.local_writes import perform_local_writes
from libs.common.db.pool import Connection
from tests.integration.locks import held_up
from tests.integration.records.conftest import Store, failed


async def test_of_two_writers_of_a_version_one_wins(store: Store) -> None:
    where: dict[str, Any] = {"collection": "things", "id": await store.made({"n": 0})}
    results = await asyncio.gather(
        *[store.one("update_record", **where, data={"n": n}, version=1) for n in range(1, 9)]
    )
    assert sorted(failed(result) or "" for result in results) == ["", *["conflict"] * 7]
    winner = next(result for result in results if result.failure is None)
    assert [(row["version"], row["data"]) for row in await store.found()] == [(2, winner.output["data"])]


async def test_no_change_is_lost(store: Store) -> None:
    where: dict[str, Any] = {"collection": "things", "id": await store.made({})}
    await asyncio.gather(*[
        store.do(*[store.write("update_record", **where, data={f"{writer}-{n}": True}) for n in range(5)])
        for writer in range(8)
    ])  # fmt: skip
    (row,) = await store.found()
    assert (row["version"], len(row["data"])) == (41, 40)


async def test_batches_in_opposite_orders_do_not_deadlock(store: Store) -> None:
    ids = [await store.made({"n": 0}) for _ in range(30)]

    async def batch(order: list[str]) -> None:
        writes = [store.write("update_record", collection="things", id=one, data={"n": 1}) for one in order]
        writes += [store.write("create_task", title="x"), store.write("create_deal", title="x")]
        results = await store.do(*writes)
        assert [failed(result) for result in results] == [None] * len(writes)

    await asyncio.gather(*[batch(ids if number % 2 else ids[::-1]) for number in range(12)])
    assert {row["version"] for row in await store.found(limit=100)} == {2}, "the same again makes no version"
    assert await store.count("collections") == 4


async def test_a_standard_collection_is_made_once(store: Store) -> None:
    names = ("create_deal", "create_task")
    results = await asyncio.gather(*[
        store.do(*[store.write(name, title="x") for name in (names if n % 2 else names[::-1])]) for n in range(8)
    ])  # fmt: skip
    assert {failed(result) for batch in results for result in batch} == {None}
    assert await store.count("records") == 16


async def test_a_collection_is_not_deleted_under_a_write(store: Store, beside: Connection) -> None:
    """Whoever deletes waits for who writes, and then sees what was written."""
    async with store.database.transaction() as writing:
        write = store.write("create_record", collection="things", data={})
        (made,) = await perform_local_writes(writing, [write])
        deleting = asyncio.ensure_future(_delete_if_empty(store))
        await held_up(beside)
        assert not deleting.done()
    assert failed(made) is None
    assert await deleting is False
    assert len(await store.found()) == 1


async def test_a_write_to_a_collection_that_is_being_deleted_waits_and_fails(store: Store, beside: Connection) -> None:
    record_id = await store.made({})
    async with store.database.transaction() as connection:
        await collections.lock_collection(connection, store.acme, "things")
        await collections.delete_collection(connection, store.acme, "things", with_records=True)
        writing = asyncio.ensure_future(
            store.do(
                store.write("update_record", collection="things", id=record_id, data={}),
                store.write("create_record", collection="things", data={}),
                store.write("create_record", store.other, collection="things", data={}),
            )
        )
        await held_up(beside)
    assert [failed(result) for result in await writing] == ["not_found", "not_found", None]


async def _delete_if_empty(store: Store) -> bool:
    async with store.database.transaction() as connection:
        assert await collections.lock_collection(connection, store.acme, "things") is not None
        return await collections.delete_collection(connection, store.acme, "things", with_records=False)
