"""Every operation with a body bounds it: too large, too deep, no JSON, another type. A new one is found by itself."""

from typing import Any

from tests.integration.conftest import ADMIN, World

_ID = "018f0000-0000-7000-8000-000000000000"
_JSON = {"Content-Type": "application/json"}


def filled(path: str) -> str:
    while "{" in path:
        before, _, rest = path.partition("{")
        name, _, after = rest.partition("}")
        path = before + (_ID if name.endswith("_id") else "deals") + after
    return path


async def statuses(world: World, content: bytes, headers: dict[str, str]) -> dict[str, int]:
    """Status by operation, of every operation that takes a body."""
    document: dict[str, Any] = (await world.client.get("/schema/openapi.json")).json()
    found: dict[str, int] = {}
    for path, methods in document["paths"].items():
        for method in [name for name, described in methods.items() if "requestBody" in described]:
            identity = ADMIN if path.startswith("/api/v1/admin") else world.headers("acme")
            answer = await world.client.request(
                method, filled(path), content=content, headers={**identity, **headers}
            )  # fmt: skip
            assert answer.headers["content-type"] == "application/problem+json", f"{method} {path}: {answer.text}"
            found[f"{method.upper()} {path}"] = answer.status_code
    return found


async def test_a_body_that_is_too_large_is_refused_everywhere(acme: World) -> None:
    large = b'{"name": "' + b"x" * acme.parts.settings.max_body_bytes + b'"}'
    found = await statuses(acme, large, _JSON)
    assert len(found) > 20
    assert {name: status for name, status in found.items() if status not in (404, 413)} == {}
    assert sum(status == 413 for status in found.values()) > 15


async def test_a_body_that_is_too_deep_is_refused_everywhere(acme: World) -> None:
    deep = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    found = await statuses(acme, deep, _JSON)
    assert {name: status for name, status in found.items() if status not in (400, 404, 422)} == {}


async def test_what_is_no_json_is_refused_everywhere(acme: World) -> None:
    for content in (b"{", b"\xff\xfe", b'{"a": 1, "a": 2}', b"NaN"):
        found = await statuses(acme, content, _JSON)
        assert {name: status for name, status in found.items() if status not in (400, 404, 422)} == {}, content


async def test_headers_that_are_too_large_are_refused_everywhere(acme: World) -> None:
    large = {"X-Filler": "x" * acme.parts.settings.max_header_bytes, "X-Request-ID": "r-1"}
    for path in ("/api/v1/workflows", "/api/v1/nothing", "/schema/openapi.json", "/docs"):
        answer = await acme.client.get(path, headers={**acme.headers("acme"), **large})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), path
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "r-1"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_another_type_is_refused_everywhere(acme: World) -> None:
    found = await statuses(acme, b"<a/>", {"Content-Type": "text/xml"})
    assert {name: status for name, status in found.items() if status not in (404, 415)} == {}
