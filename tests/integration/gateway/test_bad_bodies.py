"""Bad bodies: the right problem, every fault by its path, and nothing stored."""

import json
from typing import Any

import pytest

from tests.integration.conftest import World
from tests.integration.gateway.definitions import workflow
from tests.integration.gateway.test_access import slug_of

GOOD = json.dumps(workflow()).encode()
JSON = "application/json"
DEEP = b'{"name": "x", "actions": ' + b"[" * 70 + b"]" * 70 + b"}"
VERY_DEEP = b'{"name": "x", "actions": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LARGE = b'{"name": "' + b"x" * 1_100_000 + b'"}'

BAD: dict[str, tuple[bytes, str, int, str, list[str]]] = {
    "empty": (b"", JSON, 400, "malformed-input", []),
    "not json": (b"name=First", JSON, 400, "malformed-input", []),
    "truncated": (GOOD[:-5], JSON, 400, "malformed-input", []),
    "trailing": (GOOD + b"}", JSON, 400, "malformed-input", []),
    "wrong root": (b"[" + GOOD + b"]", JSON, 400, "malformed-input", []),
    "null": (b"null", JSON, 400, "malformed-input", []),
    "wrong content type": (GOOD, "text/plain", 415, "unsupported-type", []),
    "form": (b"name=First", "application/x-www-form-urlencoded", 415, "unsupported-type", []),
    "wrong charset": (GOOD, "application/json; charset=latin-1", 415, "unsupported-type", []),
    "too large": (LARGE, JSON, 413, "too-large", []),
    "too deep": (DEEP, JSON, 400, "malformed-input", []),
    "very deep": (VERY_DEEP, JSON, 400, "malformed-input", []),
    "not utf-8": (b'{"name": "\xff\xfe", "actions": []}', JSON, 400, "malformed-input", []),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, JSON, 400, "malformed-input", []),
    "lone surrogate": (b'{"name": "\\ud800", "actions": []}', JSON, 400, "malformed-input", []),
    "NaN": (b'{"name": "x", "timeout_seconds": NaN}', JSON, 400, "malformed-input", []),
    "infinite": (b'{"name": "x", "timeout_seconds": 1e999}', JSON, 400, "malformed-input", []),
    "name twice": (b'{"name": "x", "name": "y", "actions": []}', JSON, 400, "malformed-input", []),
    "unknown field": (json.dumps(workflow(nmae="x")).encode(), JSON, 422, "invalid-input", ["nmae"]),
    "missing field": (json.dumps({"actions": workflow()["actions"]}).encode(), JSON, 422, "invalid-input", ["name"]),
    "null character": (json.dumps(workflow("a\0b")).encode(), JSON, 422, "invalid-input", ["name"]),
    "wrong types": (
        json.dumps({**workflow(), "enabled": "yes", "description": 3, "timeout_seconds": []}).encode(),
        JSON, 422, "invalid-input", ["description", "enabled", "timeout_seconds"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
async def test_nothing_is_stored(acme: World, kind: str) -> None:
    body, content_type, status, slug, paths = BAD[kind]
    headers = {**acme.headers("acme"), "Content-Type": content_type}
    answer = await acme.client.post("/api/v1/workflows", content=body, headers=headers)
    assert (answer.status_code, slug_of(answer)) == (status, slug)
    assert sorted(fault["path"] for fault in answer.json()["errors"]) == paths
    assert answer.json()["detail"]
    for table in ("workflows", "workflow_versions", "triggers"):
        assert await acme.count(table) == 0


async def test_a_long_number_is_no_trouble(acme: World) -> None:
    body = b'{"input": {"n": ' + b"9" * 5000 + b"}}"
    made = await acme.made(workflow())
    headers = {**acme.headers("acme"), "Content-Type": JSON}
    answer = await acme.client.post(f"/api/v1/workflows/{made['id']}/execute", content=body, headers=headers)
    assert answer.status_code in (202, 400)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"input": 3}, ["input"]),
        ({"input": {}, "inptu": {}}, ["inptu"]),
        ({"input": [1]}, ["input"]),
    ],
)
async def test_execute_names_the_field(acme: World, body: Any, paths: list[str]) -> None:
    made = await acme.made(workflow())
    answer = await acme.call("POST", f"/workflows/{made['id']}/execute", body)
    assert (answer.status_code, [fault["path"] for fault in answer.json()["errors"]]) == (422, paths)
    assert await acme.count("executions") == 0


async def test_every_fault_of_a_key_is_named(acme: World) -> None:
    answer = await acme.call("POST", "/api-keys", {"name": "", "role": "king", "x": 1}, role="owner")
    assert sorted(fault["path"] for fault in answer.json()["errors"]) == ["name", "role", "x"]


@pytest.mark.parametrize(
    ("query", "path"),
    [("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("cursor=@@", "cursor"),
     ("cursor=AAAA", "cursor"), ("offset=-1", "offset"), ("enabled=perhaps", "enabled"), ("name=%00", "name")],
)  # fmt: skip
async def test_bad_parameters(acme: World, query: str, path: str) -> None:
    answer = await acme.call("GET", f"/workflows?{query}")
    assert (answer.status_code, slug_of(answer)) == (422, "invalid-input")
    assert [fault["path"] for fault in answer.json()["errors"]] == [path]


async def test_unknown_addresses_and_methods(acme: World) -> None:
    lost = await acme.client.get("/api/v1/nothing", headers={"X-Request-ID": "abc-1"})
    assert (lost.status_code, slug_of(lost), lost.headers["x-request-id"]) == (404, "not-found", "abc-1")
    wrong = await acme.client.delete("/api/v1/workflows")
    assert (wrong.status_code, slug_of(wrong)) == (405, "method-not-allowed")
    assert "GET" in wrong.headers["allow"]
    assert "POST" in wrong.headers["allow"]
    assert (await acme.call("GET", "/workflows/not-an-id")).status_code == 404


async def test_request_ids_are_bounded(acme: World) -> None:
    for bad in ("x" * 200, "a\tb"):
        answer = await acme.client.get("/api/v1/workflows", headers={"X-Request-ID": bad})
        assert answer.headers["x-request-id"] != bad
        assert slug_of(answer) == "unauthenticated"


async def test_a_database_that_is_away_is_503(acme: World) -> None:
    await acme.parts.database.close()
    answer = await acme.call("GET", "/workflows")
    assert (answer.status_code, slug_of(answer)) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    await acme.parts.database.open()
    assert (await acme.call("GET", "/workflows")).status_code == 200
