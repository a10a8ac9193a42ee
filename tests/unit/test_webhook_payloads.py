"""The bodies of webhook calls: what each content type makes of them, and of those that say what a tool says."""

from typing import Any

import pytest

from libs.common.errors import MalformedInput
from libs.common.webhook_payloads import read_payload

FORM, BYTES = "application/x-www-form-urlencoded", "application/octet-stream"


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("", b'{"a": 1}', {"a": 1}),
        ("application/vnd.api+json; charset=utf-8", b"[1]", [1]),
        (FORM, b"a=1&a=2&b=%7B", {"a": ["1", "2"], "b": "{"}),
        (FORM, b' {"a": 1}', {"a": 1}),
        (FORM, b"{a=1", {"{a": "1"}),
        (BYTES, b"[1]", [1]),
        (BYTES, b"\xff\x00", "/wA="),
        (BYTES, b'"text"', "InRleHQi"),
        ("text/plain", b'{"a": 1}', '{"a": 1}'),
    ],
)
def test_what_a_body_is(content_type: str, body: bytes, value: Any) -> None:
    assert read_payload(content_type, "", body, 1_000).value == value


def test_a_name_that_stands_twice_is_refused_however_it_comes() -> None:
    for content_type in ("application/json", FORM, BYTES):
        with pytest.raises(MalformedInput):
            read_payload(content_type, "", b'{"a": 1, "a": 2}', 1_000)
