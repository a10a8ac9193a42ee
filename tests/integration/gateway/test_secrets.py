"""Secrets over the API: who may set them, what is shown, and that a value is nowhere but in the vault's hands."""

from typing import Any
from uuid import UUID

import msgspec
import pytest
import structlog

from libs.common.security.encryption import CannotOpen
from tests.integration.conftest import World

CANARY = "canary-4eC39HqLyjWDarjtT1zdp7dc"


async def put(world: World, name: str, value: Any = CANARY, **more: str) -> Any:
    return await world.call("PUT", f"/secrets/{name}", {"value": value}, **more)


async def test_a_secret_is_set_replaced_and_deleted(acme: World) -> None:
    made = await put(acme, "SLACK_URL")
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/secrets/SLACK_URL")
    assert set(made.json()) == {"name", "version", "created_at", "updated_at", "last_used_at"}
    assert (made.json()["name"], made.json()["version"], made.json()["last_used_at"]) == ("SLACK_URL", 1, None)
    again = await put(acme, "SLACK_URL", "another value")
    assert (again.status_code, again.json()["version"]) == (200, 2)
    assert again.json()["created_at"] == made.json()["created_at"]
    assert (await acme.call("GET", "/secrets/SLACK_URL")).json() == again.json()
    assert (await acme.call("DELETE", "/secrets/SLACK_URL")).status_code == 204
    assert (await acme.call("DELETE", "/secrets/SLACK_URL")).status_code == 404
    assert (await acme.call("GET", "/secrets/SLACK_URL")).status_code == 404
    assert (await put(acme, "SLACK_URL")).status_code == 201


async def test_the_list_is_paged_by_name(acme: World) -> None:
    for number in (3, 1, 2):
        await put(acme, f"key_{number}")
    first = (await acme.call("GET", "/secrets?limit=2")).json()
    assert [item["name"] for item in first["items"]] == ["key_1", "key_2"]
    second = (await acme.call("GET", f"/secrets?limit=2&cursor={first['next_cursor']}")).json()
    assert ([item["name"] for item in second["items"]], second["next_cursor"]) == (["key_3"], None)
    assert [item["name"] for item in (await acme.call("GET", "/secrets?offset=1")).json()["items"]] == [
        "key_2",
        "key_3",
    ]
    assert (await acme.call("GET", "/secrets?cursor=AAAA")).status_code == 422


async def test_viewers_look_and_editors_write(acme: World) -> None:
    assert (await put(acme, "A", role="viewer")).status_code == 403
    assert (await put(acme, "A", role="editor")).status_code == 201
    assert (await acme.call("GET", "/secrets", role="viewer")).status_code == 200
    assert (await acme.call("GET", "/secrets/A", role="viewer")).status_code == 200
    assert (await acme.call("DELETE", "/secrets/A", role="viewer")).status_code == 403
    assert (await acme.call("DELETE", "/secrets/A", role="owner")).status_code == 204


async def test_tenants_do_not_see_each_others(acme: World) -> None:
    await put(acme, "A")
    assert (await acme.call("GET", "/secrets", slug="other")).json()["items"] == []
    assert (await acme.call("GET", "/secrets/A", slug="other")).status_code == 404
    assert (await acme.call("DELETE", "/secrets/A", slug="other")).status_code == 404
    assert (await put(acme, "A", "theirs", slug="other")).status_code == 201
    assert (await acme.call("GET", "/secrets/A")).json()["version"] == 1


async def test_a_bad_name_is_a_fault_and_names_nothing(acme: World) -> None:
    for name in ("1A", "a-b", "a.b", "a%20b", "ä", "A" * 65, "A%0A", "A%00"):
        refused = await put(acme, name)
        assert (refused.status_code, [fault["path"] for fault in refused.json()["errors"]]) == (422, ["name"])
        assert (await acme.call("GET", f"/secrets/{name}")).status_code == 404
        assert (await acme.call("DELETE", f"/secrets/{name}")).status_code == 404


async def test_a_bad_body_is_refused_without_quoting_it(acme: World) -> None:
    bad: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["value"]),
        ({"value": ""}, ["value"]),
        ({"value": None}, ["value"]),
        ({"value": [CANARY]}, ["value"]),
        ({"value": CANARY, "values": CANARY}, ["values"]),
        ({"value": CANARY * 2200}, ["value"]),
        ({"value": "ä" * 32_769}, ["value"]),
    ]
    for body, paths in bad:
        refused = await acme.call("PUT", "/secrets/A", body)
        assert (refused.status_code, [fault["path"] for fault in refused.json()["errors"]]) == (422, paths)
        assert CANARY not in refused.text
        both = await acme.call("PUT", "/secrets/1", body)
        assert {fault["path"] for fault in both.json()["errors"]} == {*paths, "name"}
    assert await acme.count("secrets") == 0


async def test_the_largest_value_fits(acme: World) -> None:
    assert (await put(acme, "A", "ä" * 32_768)).status_code == 201


async def test_a_value_is_in_no_answer_row_or_log(acme: World) -> None:
    with structlog.testing.capture_logs() as lines:
        answers = [
            await put(acme, "A"),
            await put(acme, "A"),
            await put(acme, "not-a-name"),
            await acme.client.put(
                "/api/v1/secrets/A", content=f'{{"value": "{CANARY}", }}', headers=acme.headers("acme")
            ),
            await acme.call("GET", "/secrets/A"),
            await acme.call("GET", "/secrets"),
        ]
    assert [answer.status_code for answer in answers] == [201, 200, 422, 400, 200, 200]
    (row,) = await acme.fetch("SELECT * FROM secrets")
    assert CANARY.encode() not in row["sealed"]
    for text in (*(answer.text for answer in answers), str(lines), str(dict(row))):
        assert CANARY not in text


async def test_a_row_opens_only_where_it_was_sealed(acme: World) -> None:
    tenants = {row["slug"]: row["tenant_id"] for row in await acme.fetch("SELECT slug, tenant_id FROM tenants")}
    await put(acme, "A")
    await put(acme, "B", "of B")
    await put(acme, "A", "of other", slug="other")
    rows = await acme.fetch("SELECT s.*, t.data_key FROM secrets s JOIN tenants t USING (tenant_id)")
    vault, opened = acme.parts.vault, dict[tuple[UUID, str], bytes]()
    for owner in rows:
        for row in rows:
            if row is owner:
                opened[row["tenant_id"], row["name"]] = vault.open(
                    row["tenant_id"], row["name"], row["sealed"], row["data_key"]
                )
                continue
            with pytest.raises(CannotOpen):
                vault.open(owner["tenant_id"], owner["name"], row["sealed"], owner["data_key"])
    assert opened == {
        (tenants["acme"], "A"): CANARY.encode(), (tenants["acme"], "B"): b"of B", (tenants["other"], "A"): b"of other",
    }  # fmt: skip


async def test_the_api_describes_them_without_a_value_in_any_answer(world: World) -> None:
    description = (await world.client.get("/schema/openapi.json")).json()
    paths = [path for path in description["paths"] if path.startswith("/api/v1/secrets")]
    assert sorted(paths) == ["/api/v1/secrets", "/api/v1/secrets/{name}"]
    shown = description["components"]["schemas"]["StoredSecret"]["properties"]
    assert "value" not in shown and "sealed" not in shown
    body = description["paths"]["/api/v1/secrets/{name}"]["put"]["requestBody"]
    assert msgspec.json.encode(body).endswith(b'SecretValue"}}},"required":true}')
