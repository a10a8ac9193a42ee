"""The description of the API, its page, and what stands on every answer."""

import re
from typing import Any

import jsonschema_rs

from tests.integration.conftest import World

_REFERENCE = re.compile(r'"\$ref":\s*"#/components/schemas/([^"]+)"')


_BODYLESS = (
    "}/suspend", "}/resume", "}/cancel", "{execution_id}/pause", "/read", "/read-all", "/register-schedule",
    "/doctor",
)  # fmt: skip


async def test_openapi_is_complete(world: World) -> None:
    answer = await world.client.get("/schema/openapi.json")
    document: dict[str, Any] = answer.json()
    assert document["openapi"].startswith("3.1")
    assert set(_REFERENCE.findall(answer.text)) <= set(document["components"]["schemas"])
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 28
    for path, method, operation in operations:
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["tags"], where
        assert {"401", "503"} <= set(operation["responses"]), where
        assert operation["security"], where
        bodyless = path.endswith(_BODYLESS)
        assert ("requestBody" in operation) == (method in ("post", "put", "patch") and not bodyless), where
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(ids) == len(set(ids))
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})


async def test_answers_that_are_no_struct_are_described(world: World) -> None:
    """They were all said to be a string in JSON."""
    paths: dict[str, Any] = (await world.client.get("/schema/openapi.json")).json()["paths"]
    for path in ("/api/v1/audit", "/api/v1/admin/audit-log", "/api/v1/admin/usage"):
        content = paths[path]["get"]["responses"]["200"]["content"]
        assert content.keys() == {"application/json", "text/csv"}
        assert content["application/json"]["schema"].keys() == {"$ref"}
    values = [one["get"] for path, one in paths.items() if "/values/" in path]
    assert [one["responses"]["200"]["content"]["application/json"]["schema"] for one in values] == [{}, {}]
    assert all("422" in one["responses"] for one in values)  # for a name that no value has


async def test_the_page_needs_no_internet(world: World) -> None:
    page = await world.client.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 3
    for link in links:
        assert (await world.client.get(f"/{link}")).status_code == 200
    assert (await world.client.get("/docs/start.js")).text.count("://") == 0
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in ("/docs/README.md", "/docs/%2e%2e%2fapp.py"):
        assert (await world.client.get(path)).status_code == 404


async def test_action_types(acme: World) -> None:
    rows = {row["name"]: row for row in (await acme.call("GET", "/action-types", role="viewer")).json()["items"]}
    assert {"set_variables", "branch", "http_request", "log", "fail"} <= set(rows)
    for row in rows.values():
        jsonschema_rs.meta.validate(row["config_schema"])
        assert row["example"]


async def test_headers_of_every_answer(acme: World) -> None:
    for path in ("/workflows", "/nothing"):
        answer = await acme.call("GET", path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
