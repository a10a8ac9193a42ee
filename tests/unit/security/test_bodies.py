"""Bodies of API requests: which content types are read, that no name stands twice, and the form of a credential."""

from typing import Any

import httpx
import pytest
from litestar import Litestar, post

from libs.common.errors import MalformedInput, Unauthenticated, UnsupportedType
from services.gateway.auth import bearer_token
from services.gateway.bodies import AnyRequest, parse_object, read_object


@post("/")
async def read(request: AnyRequest) -> dict[str, Any]:
    """Answers with what it has read."""
    try:
        return {"read": await read_object(request)}
    except UnsupportedType as error:
        return {"refused": error.detail}


async def answer_to(content_type: str | None) -> dict[str, Any]:
    """What a request with this content type gets from a handler."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    transport = httpx.ASGITransport(Litestar([read], openapi_config=None, logging_config=None))  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        return (await client.post("/", content=b'{"a": 1}', headers=headers)).json()


@pytest.mark.parametrize(
    "content_type",
    [
        None, "application/json", "APPLICATION/JSON", "application/json; charset=utf-8", 'text/json;charset="UTF-8"',
        "application/json; charset=utf-8; profile=x", "application/json;Charset=utf8", "application/json;",
        "application/merge-patch+json", "application/json; profile=charset",
    ],
)  # fmt: skip
async def test_json_is_read_by_all_its_names(content_type: str | None) -> None:
    assert await answer_to(content_type) == {"read": {"a": 1}}


@pytest.mark.parametrize(
    "content_type",
    [
        "", "text/plain", "text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/jsonx", "application/json, text/plain", "application/json; charset=utf-16",
        "application/json; Charset=latin-1", "application/json; profile=x; charset=latin-1",
    ],
)  # fmt: skip
async def test_what_a_browser_sends_across_origins_and_other_types_are_not_read(content_type: str) -> None:
    assert (await answer_to(content_type)).keys() == {"refused"}


@pytest.mark.parametrize(
    "raw",
    [b'{"a": 1, "a": 1}', b'{"b": [{"a": 1, "c": 2, "a": 3}]}', b'{"a": 1, "\\u0061": 2}', b'{"": 1, "": 2}',
     b'{"a": {}, "b": {"a": {"x": 1, "x": 2}}}'],
)  # fmt: skip
def test_a_name_that_stands_twice_is_refused_at_any_depth(raw: bytes) -> None:
    with pytest.raises(MalformedInput, match="stands twice"):
        parse_object(raw)


def test_a_long_name_is_not_repeated_in_full() -> None:
    name = "x" * 10_000
    with pytest.raises(MalformedInput) as refused:
        parse_object(f'{{"{name}": 1, "{name}": 2}}'.encode())
    assert len(refused.value.detail) < 200


def test_one_name_in_several_objects_is_none_twice() -> None:
    raw = b'{"a": {"a": [{"a": 1}, {"a": 1e5}]}, "A": 123456789012345678901234567890}'
    assert parse_object(raw) == {"a": {"a": [{"a": 1}, {"a": 1e5}]}, "A": 123456789012345678901234567890}


@pytest.mark.parametrize("raw", [b"", b" \n", b"[]", b"null", b'"{}"', b"1"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedInput, match="object"):
        parse_object(raw)


@pytest.mark.parametrize("header", ["Bearer key", "bearer key", "BEARER  key ", "Bearer key\t"])
def test_a_credential_is_found_behind_its_scheme(header: str) -> None:
    assert bearer_token(header) == "key"


@pytest.mark.parametrize("header", [None, "", "key", "Bearer", "Bearer ", "Basic key", "Bearerkey", "Token Bearer key"])
def test_another_scheme_or_none_is_no_credential(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        bearer_token(header)
