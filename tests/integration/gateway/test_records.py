"""Collections and records over HTTP: what is stored comes back, schemas, versions, filters, pages, roles, tenants."""

import asyncio
from typing import Any
from urllib.parse import quote

from libs.common.clock import new_id
from tests.integration.conftest import World

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"amount": {"type": "number"}, "name": {"type": "string", "maxLength": 5}},
    "required": ["amount"],
}


def paths(answer: Any) -> list[str]:
    return sorted(fault["path"] for fault in answer.json()["errors"])


async def make(world: World, data: dict[str, Any], name: str = "deals", **body: Any) -> dict[str, Any]:
    answer = await world.call("POST", f"/collections/{name}/records", {"data": data, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_collections(acme: World) -> None:
    made = await acme.call("POST", "/collections", {"name": "payments", "schema": SCHEMA})
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/collections/payments")
    assert made.json()["schema"] == SCHEMA
    assert (await acme.call("POST", "/collections", {"name": "payments"})).status_code == 409
    assert (await acme.call("POST", "/collections", {"name": "payments"}, slug="other")).status_code == 201
    await acme.call("POST", "/collections", {"name": "Contacts-2"})
    first = (await acme.call("GET", "/collections?limit=1", role="viewer")).json()
    rest = (await acme.call("GET", f"/collections?limit=1&cursor={first['next_cursor']}")).json()
    assert {row["name"] for row in first["items"] + rest["items"]} == {"Contacts-2", "payments"}
    assert rest["next_cursor"] is None
    patch = {"description": "what we got", "schema": {"properties": {"name": None}}}
    changed = await acme.call("PATCH", "/collections/payments", patch, If_Match='"1"')
    assert changed.headers["etag"] == '"2"'
    assert changed.json()["schema"] == {**SCHEMA, "properties": {"amount": {"type": "number"}}}
    assert (await acme.call("PATCH", "/collections/payments", patch, If_Match='"1"')).status_code == 412
    assert (await acme.call("PATCH", "/collections/payments", {"name": "paid"})).status_code == 409
    assert (await acme.call("PATCH", "/collections/payments", {"schema": None})).json()["schema"] is None
    assert (await acme.call("GET", "/collections/payments")).json()["description"] == "what we got"


async def test_bad_collections(acme: World) -> None:
    bad = await acme.call("POST", "/collections", {"name": "a b", "schema": {"type": "nothing"}, "x": 1})
    assert (bad.status_code, paths(bad)) == (422, ["name", "schema", "x"])
    far = await acme.call("POST", "/collections", {"name": "a", "schema": {"$ref": "https://example.com/s"}})
    assert (far.status_code, paths(far)) == (422, ["schema"])
    assert await acme.count("collections") == 0
    for name in ("nothing", "a%00b", quote("ü"), "x" * 100):
        assert (await acme.call("GET", f"/collections/{name}")).status_code == 404
        assert (await acme.call("GET", f"/collections/{name}/records")).status_code == 404
        assert (await acme.call("POST", f"/collections/{name}/records", {"data": {}})).status_code == 404
        assert (await acme.call("GET", f"/collections/{name}/records/{new_id()}")).status_code == 404
        assert (await acme.call("DELETE", f"/collections/{name}")).status_code == 404
    assert (await acme.call("GET", "/collections?cursor=AAAA")).status_code == 422


async def test_a_collection_with_records_is_deleted_on_demand_only(acme: World) -> None:
    await make(acme, {"a": 1})
    assert (await acme.call("DELETE", "/collections/deals")).status_code == 409
    assert (await acme.call("DELETE", "/collections/deals?with_records=true", If_Match='"7"')).status_code == 412
    assert (await acme.call("DELETE", "/collections/deals?with_records=true")).status_code == 204
    assert (await acme.call("GET", "/collections/deals")).status_code == 404
    assert await acme.count("records") == 0
    await acme.call("POST", "/collections", {"name": "empty"})
    assert (await acme.call("DELETE", "/collections/empty")).status_code == 204


async def test_a_record_comes_and_goes(acme: World) -> None:
    sent = {"data": {"title": "Bö", "n": 1.5, "big": 10**25, "deep": {"a": [None, True]}}, "tags": ["x", "y", "x"]}
    created = await acme.call("POST", "/collections/deals/records", sent, X_User_ID="ann")
    made = created.json()
    path = f"/collections/deals/records/{made['id']}"
    assert (created.status_code, created.headers["etag"]) == (201, '"1"')
    assert created.headers["location"] == f"/api/v1{path}"
    assert (made["version"], made["data"], made["tags"], made["created_by"]) == (1, sent["data"], ["x", "y"], "ann")
    shown = await acme.call("GET", path, role="viewer")
    assert (shown.json(), shown.headers["etag"]) == (made, '"1"')
    same = await acme.call("PUT", path, shown.json())
    assert same.headers["etag"] == '"1"', "the same again makes no version"
    merged = await acme.call("PATCH", path, {"data": {"n": None, "deep": {"b": 1}}}, If_Match='"1"', X_User_ID="bob")
    assert (merged.json()["version"], merged.json()["updated_by"], merged.json()["tags"]) == (2, "bob", ["x", "y"])
    assert merged.json()["data"] == {"title": "Bö", "big": 10**25, "deep": {"a": [None, True], "b": 1}}
    replaced = await acme.call("PUT", path, {"data": {"z": 1}})
    assert (replaced.json()["data"], replaced.json()["tags"], replaced.json()["version"]) == ({"z": 1}, [], 3)
    writes: list[tuple[str, Any]] = [("PUT", sent), ("PATCH", {"data": {}}), ("DELETE", None)]
    for method, body in writes:
        assert (await acme.call(method, path, body, If_Match='"1"')).status_code == 412
    assert (await acme.call("DELETE", path, If_Match='"3"')).status_code == 204
    for method, body in (*writes, ("GET", None)):
        assert (await acme.call(method, path, body)).status_code == 404


async def test_every_fault_of_a_record_is_named(acme: World) -> None:
    await acme.call("POST", "/collections", {"name": "payments", "schema": SCHEMA})
    post = "/collections/payments/records"
    bad = await acme.call("POST", post, {"data": {"a\0": 1, "b": "\0"}, "tags": ["", 3], "x": 1})
    assert (bad.status_code, paths(bad)) == (422, ["data", "data.b", "tags[0]", "tags[1]", "x"])
    unfit = await acme.call("POST", post, {"data": {"amount": "1", "name": "too long"}})
    assert (unfit.status_code, paths(unfit)) == (422, ["data.amount", "data.name"])
    assert paths(await acme.call("POST", post, {})) == ["data"]
    large = await acme.call("POST", post, {"data": {"amount": 1, "x": "x" * 300_000}})
    assert (large.status_code, paths(large)) == (422, ["data"])
    assert await acme.count("records") == 0
    made = await make(acme, {"amount": 1}, "payments")
    unfitting: list[tuple[str, Any]] = [
        ("PATCH", {"data": {"amount": None}}), ("PUT", {"data": {}}), ("PATCH", {"data": None}),
    ]  # fmt: skip
    for method, body in unfitting:
        answer = await acme.call(method, f"{post}/{made['id']}", body)
        assert (answer.status_code, paths(answer)) == (422, ["data"])
    assert (await acme.call("GET", f"{post}/{made['id']}")).json() == made


async def test_of_two_editors_one_is_told(acme: World) -> None:
    path = f"/collections/deals/records/{(await make(acme, {}))['id']}"
    answers = await asyncio.gather(*[
        acme.call("PATCH", path, {"data": {"n": n}}, If_Match='"1"') for n in range(6)
    ])  # fmt: skip
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]


async def test_filters_tags_and_order(acme: World) -> None:
    await make(acme, {"n": 1, "stage": "won", "zip": "0123", "at": {"city": "Bern"}}, tags=["vip", "eu"])
    await make(acme, {"n": 20, "stage": "lost", "zip": 123}, tags=["eu"])
    await make(acme, {"n": 3, "stage": "won, twice", "done": True})
    expected = {
        "": [3, 20, 1],
        "filter[stage]=won": [1],
        "filter[n]=20": [20],
        'filter[n]="20"': [],
        "filter[zip]=0123": [1],
        "filter[zip]=123": [20],
        "filter[done]=true": [3],
        "filter[at.city]=Bern": [1],
        "filter[n][greater_than]=2&filter[n][less_than]=10": [3],
        "filter[stage][in]=won,lost": [20, 1],
        "filter[stage][not_in]=won,lost": [3],
        "filter[stage][starts_with]=won": [3, 1],
        "filter[stage][contains]=, tw": [3],
        "filter[done][exists]=true": [3],
        "filter[done][exists]=false": [20, 1],
        "tag=eu": [20, 1],
        "tag=eu&tag=vip": [1],
        "tag=eu&filter[stage]=lost": [20],
        "sort=n": [1, 3, 20],
        "sort=-n&tag=eu": [20, 1],
        "sort=created_at&limit=2": [1, 20],
        "offset=1&limit=1": [20],
    }
    found = {
        query: [
            row["data"]["n"] for row in (await acme.call("GET", f"/collections/deals/records?{query}")).json()["items"]
        ]
        for query in expected
    }
    assert found == expected
    assert (await acme.call("GET", "/collections/deals/records", slug="other")).json()["items"] == []


async def test_pages(acme: World) -> None:
    for number in range(5):
        await make(acme, {"n": number, "title": "ü€" * (5 - number), "all": 1}, tags=["t"])
    for query in ("", "sort=title", "sort=-title&filter[all]=1", "tag=t", "sort=updated_at"):
        seen: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            address = f"/collections/deals/records?limit=2&{query}{cursor and f'&cursor={cursor}'}"
            listed = (await acme.call("GET", address)).json()
            seen += [row["data"]["n"] for row in listed["items"]]
            cursor = listed["next_cursor"]
        at_once = (await acme.call("GET", f"/collections/deals/records?{query}")).json()["items"]
        assert (query, seen) == (query, [row["data"]["n"] for row in at_once])
        assert sorted(seen) == [0, 1, 2, 3, 4]


BAD_QUERIES = {
    "filter=1": "filter", "filter[]=1": "filter[]", "filter[a][b][c]=1": "filter[a][b][c]",
    "filter[a][like]=1": "filter[a][like]", "filter[a..b]=1": "filter[a..b]", "filter[a]=%00": "filter[a]",
    "filter[a]=" + "x" * 600: "filter[a]", "filter[a][in]=" + "1," * 60: "filter[a][in]",
    "tag=": "tag", "tag=%00": "tag", "sort=": "sort", "sort=a.": "sort", "limit=0": "limit",
    "cursor=" + "W10": "cursor", "cursor=AAAA": "cursor", "&".join(f"filter[a{n}]=1" for n in range(11)): "filter",
}  # fmt: skip


async def test_bad_queries(acme: World) -> None:
    found: dict[str, Any] = {}
    for query in BAD_QUERIES:
        answer = await acme.call("GET", f"/collections/deals/records?{query}")
        found[query] = paths(answer)[0] if answer.status_code == 422 else answer.text
    assert found == BAD_QUERIES


async def test_roles_and_tenants(acme: World) -> None:
    made = await make(acme, {"a": 1})
    path = f"/collections/deals/records/{made['id']}"
    writes: list[tuple[str, str, Any]] = [
        ("POST", "/collections", {"name": "x"}), ("PATCH", "/collections/deals", {}),
        ("DELETE", "/collections/deals", None), ("POST", "/collections/deals/records", {"data": {}}),
        ("PUT", path, {"data": {}}), ("PATCH", path, {}), ("DELETE", path, None),
    ]  # fmt: skip
    for method, where, body in writes:
        assert (await acme.call(method, where, body, role="viewer")).status_code == 403
        if "deals/records" not in where or where == path:
            answer = await acme.call(method, where, body, slug="other")
            assert answer.status_code == (201 if where == "/collections" else 404)
    assert (await acme.call("GET", path, slug="other")).status_code == 404
    assert (await acme.call("GET", path)).json() == made
