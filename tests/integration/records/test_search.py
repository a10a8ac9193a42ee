"""Finding records: what each operator finds, order, pages, tags; and that an index finds them."""

import json
from typing import Any

import pytest

from libs.common.db import collections, local_results, record_search, records
from libs.common.db.finding import find_for_action
from libs.common.db.record_search import After, Found, search_records
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.record_filters import RecordFilter, RecordOrder, read_filter, read_order
from tests.integration.records.conftest import NOW, Store

ROWS: list[dict[str, Any]] = [
    {"n": 1, "stage": "won", "amount": 100, "customer": {"id": "c1"}, "labels": ["a", "b"]},
    {"n": 2, "stage": "lost", "amount": -5.5, "customer": {"id": "c2"}, "labels": ["b"]},
    {"n": 3, "stage": "won", "amount": "100", "customer": None, "on": True},
    {"n": 4, "stage": None, "amount": 1e20, "quote": 'say "x" \\ {} $.a'},
    {"n": 5, "amount": 250, "due": "2026-11-21T09:30:00Z", "on": False},
]

FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [1, 2, 3, 4, 5]),
    ({"stage": "won"}, [1, 3]),
    ({"stage": None}, [4]),
    ({"stage": {"not_equals": "won"}}, [2, 4, 5]),
    ({"stage": {"exists": True}}, [1, 2, 3, 4]),
    ({"stage": {"exists": False}}, [5]),
    ({"stage": {"not_exists": True}}, [5]),
    ({"stage": ["won", "lost"]}, [1, 2, 3]),
    ({"stage": {"not_in": ["won", "lost"]}}, [4, 5]),
    ({"stage": {"in": ["lost", None]}}, [2, 4]),
    ({"amount": 100}, [1]),
    ({"amount": 100.0}, [1]),
    ({"amount": "100"}, [3]),
    ({"amount": -5.5}, [2]),
    ({"amount": {"greater_than": 100}}, [4, 5]),
    ({"amount": {"greater_or_equal": 100}}, [1, 4, 5]),
    ({"amount": {"less_than": 100}}, [2]),
    ({"amount": {"less_or_equal": 250, "greater_than": -5.5}}, [1, 5]),
    ({"amount": {"not_equals": 100}}, [2, 3, 4, 5]),
    ({"due": {"less_than": "2026-12-01"}}, [5]),
    ({"on": True}, [3]),
    ({"on": False}, [5]),
    ({"on": 1}, []),
    ({"customer.id": "c2"}, [2]),
    ({"customer.id": {"starts_with": "c"}}, [1, 2]),
    ({"labels": "b"}, [1, 2]),
    ({"labels": {"not_equals": "a"}}, [2, 3, 4, 5]),
    ({"quote": 'say "x" \\ {} $.a'}, [4]),
    ({"quote": {"contains": '"x" \\ {} $'}}, [4]),
    ({"quote": {"contains": "SAY"}}, []),
    ({"stage": "won", "amount": {"greater_than": 50}}, [1]),
    ({'x") || ($."n': 1}, []),
    ({"stage": 'won" || "1" == "1'}, []),
]


@pytest.fixture
async def filled(store: Store) -> Store:
    for row in ROWS:
        await store.made(row, tags=[f"t{row['n']}", "all"])
        await store.made({**row, "n": 10 + row["n"]}, store.other)
    return store


async def test_operators(filled: Store) -> None:
    found = {str(wanted): [row["data"]["n"] for row in await filled.found(filter=wanted)] for wanted, _ in FILTERS}
    assert found == {str(wanted): sorted(numbers, reverse=True) for wanted, numbers in FILTERS}


async def test_tags(filled: Store) -> None:
    assert [row["data"]["n"] for row in await filled.found(tags=["all", "t2"])] == [2]
    assert [row["data"]["n"] for row in await filled.found(tags="t3", filter={"stage": "won"})] == [3]
    assert await filled.found(tags=["t2", "t3"]) == []


ORDERS = {
    "-created_at": [5, 4, 3, 2, 1],
    "created_at": [1, 2, 3, 4, 5],
    "n": [1, 2, 3, 4, 5],
    "-n": [5, 4, 3, 2, 1],
    "stage": [4, 5, 2, 1, 3],
    "-stage": [3, 1, 2, 5, 4],
    "customer.id": [3, 4, 5, 1, 2],
    "nowhere": [1, 2, 3, 4, 5],
}


async def test_orders_and_pages(filled: Store) -> None:
    for sort, numbers in ORDERS.items():
        for wanted in ({}, {"n": {"in": [1, 2, 3, 4, 5]}}):
            at_once = [row["data"]["n"] for row in await filled.found(filter=wanted, sort=sort)]
            paged = [one.record.data["n"] for one in await _paged(filled, wanted, sort)]
            assert (sort, at_once, paged) == (sort, numbers, numbers)


async def test_by_update(filled: Store) -> None:
    first = (await filled.found(filter={"n": 1}))[0]
    await filled.one("update_record", collection="things", id=first["id"], data={"n": 1, "x": "é" * 300})
    async with filled.database.connection() as connection:
        await connection.execute("UPDATE records SET updated_at = updated_at + interval '1 s' WHERE version = 2")
    for wanted in ({}, {"n": {"in": [1, 2, 3, 4, 5]}}):
        assert [one.record.data["n"] for one in await _paged(filled, wanted, "-updated_at")] == [1, 5, 4, 3, 2]
        assert (await _paged(filled, wanted, "x"))[-1].record.data["n"] == 1


async def _paged(store: Store, raw: dict[str, Any], sort: str) -> list[Found]:
    """Everything, two at a time."""
    wanted, order = read_filter(raw, "filter")[0], read_order(sort)
    assert order is not None
    seen: list[Found] = []
    async with store.database.connection() as connection:
        while True:
            after = After(seen[-1].record.id, seen[-1].place) if seen else None
            rows = await search_records(
                connection, store.acme, "things", wanted, order, after=after, limit=2, offset=0
            )  # fmt: skip
            seen += rows
            if len(rows) < 2:
                return seen


async def test_limits(filled: Store) -> None:
    found = await filled.find(limit="2")
    assert (found["count"], found["has_more"]) == (2, True)
    assert await filled.found(collection="tasks") == []


async def test_a_search_that_takes_too_long_is_given_up(store: Store) -> None:
    async with store.database.transaction() as blocking, store.database.connection() as connection:
        await blocking.execute("LOCK TABLE records IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(ActionFailed, match="too long"):
            await find_for_action(connection, store.acme, {"collection": "things"}, NOW, 0.2)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"collection": "nothing"}, "not_found"), ({"filter": {"a": {"like": 1}}}, "invalid_config"),
    ({"filter": {"a": {"b": [1, {}]}}}, "invalid_config"), ({"filter": {"a": "\0"}}, "invalid_config"),
    ({"filter": {"a": float("inf")}}, "invalid_config"), ({"limit": 1000}, "invalid_config"),
    ({"sort": "a..b"}, "invalid_config"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "error_class"), BAD)
async def test_a_bad_search_fails(store: Store, config: dict[str, Any], error_class: str) -> None:
    with pytest.raises(ActionFailed) as failed:
        await store.find(**config)
    assert failed.value.failure.error_class == error_class


_FILL = """
INSERT INTO records (tenant_id, collection, id, version, data, tags, created_at, updated_at)
SELECT ($1::uuid[])[1 + n % 2], 'things', gen_random_uuid(), 1, jsonb_build_object('n', n, 'stage', 'open'),
       '[]', now(), now() FROM generate_series(1, 6000) n
"""


async def test_equality_and_pages_are_found_by_index(store: Store) -> None:
    async with store.database.connection() as connection:
        await connection.execute(_FILL, [store.acme, store.other])
        await connection.execute("ANALYZE records")
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {record_search._NEWEST_MATCHING}"  # pyright: ignore[reportPrivateUsage]
        path = f'$."{store.acme}/things"."data"."n" == 4242'
        plan = await connection.fetchval(explained, store.acme, "things", None, path, 50, 0)
        everything = f'$."{store.acme}/things"."data"."stage" == "open"'
        both = await connection.fetchval(explained, store.acme, "things", None, everything, 6000, 0)
        newest = f"EXPLAIN (FORMAT JSON) {record_search._NEWEST}"  # pyright: ignore[reportPrivateUsage]
        page = await connection.fetchval(newest, store.acme, "things", None, None, 50, 0)
    assert '"Index Name": "records_search"' in plan
    assert json.loads(both)[0]["Plan"]["Actual Rows"] == 3000
    assert '"Index Name": "records_pkey"' in page
    assert "Sort" not in page


async def test_sets_are_locked_and_written_by_index(store: Store) -> None:
    """Whatever plan was made while the tables were small."""
    async with store.database.connection() as connection:
        await connection.execute(_FILL, [store.acme, store.other])
        await connection.execute("ANALYZE records; SET plan_cache_mode = force_generic_plan")
        for text in (records._LOCK, records._UPDATE, records._DELETE, local_results._FIND, collections._HOLD):  # pyright: ignore[reportPrivateUsage]
            await connection.execute(f"PREPARE hot AS {text}")
            count = await connection.fetchval(
                "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'hot'"
            )
            rows = await connection.fetch(f"EXPLAIN EXECUTE hot ({', '.join(['NULL'] * count)})")
            plan = "\n".join(row[0] for row in rows)
            assert "Index Scan" in plan, plan
            assert "Seq Scan" not in plan, plan
            await connection.execute("DEALLOCATE hot")
        await connection.execute("RESET plan_cache_mode")


async def test_an_entry_of_the_index_is_of_one_collection(store: Store) -> None:
    """What a look-up reads of the index does not grow with what other tenants hold."""
    await store.made({"stage": "open"})
    async with store.database.connection() as connection:
        await connection.execute(_FILL, [store.other, store.other])
        text = "SELECT id FROM records WHERE record_search(tenant_id, collection, data, tags) @@ $1::text::jsonpath"
        path = f'$."{store.acme}/things"."data"."stage" == "open"'
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", path))
    scans = [node for node in _nodes(plan[0]["Plan"]) if node.get("Index Name") == "records_search"]
    assert [node["Actual Rows"] for node in scans] == [1]


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for inner in plan.get("Plans", []) for node in _nodes(inner))]


def test_a_filter_knows_whether_an_index_helps() -> None:
    assert read_filter({"a": 1}, "")[0].is_indexed
    assert not read_filter({"a": {"greater_than": 1}}, "")[0].is_indexed
    assert RecordFilter(tags=("x",)).is_indexed
    assert RecordOrder().is_newest_first
