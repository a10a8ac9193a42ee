"""`http_request`: every way to write a request, to read an answer, and to say which answer is good."""

import base64
import json
from email import message_from_bytes
from typing import Any

import pytest

from services.executor.actions.all import OwnedEffects
from tests.integration.actions.certificates import Certificate
from tests.integration.actions.conftest import OURS, Call, Vendor, effects_with, failure_of, run, serving


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "patch"])
async def test_every_method(effects: OwnedEffects, vendor: Vendor, method: str) -> None:
    output = await run(effects, "http_request", url=vendor.url, method=method)
    assert (vendor.the_call().method, output["status"]) == (method.upper(), 200)


@pytest.mark.parametrize("name", ["http_request", "call_webhook", "webhook"])
async def test_every_name_of_it(effects: OwnedEffects, vendor: Vendor, name: str) -> None:
    await run(effects, name, url=vendor.url, body={"a": 1})
    call = vendor.the_call()
    assert (call.body, {key: call.headers[key] for key in OURS}) == (b'{"a":1}', OURS)


async def test_query_and_headers_hold_any_value(effects: OwnedEffects, vendor: Vendor) -> None:
    await run(
        effects, "http_request", url=f"{vendor.url}/p?z=1", method="GET",
        query={"tag": ["a b", 2], "on": True, "none": None},
        headers={"X-Count": 5, "X-None": None, "Accept": "text/csv"},
    )  # fmt: skip
    call = vendor.the_call()
    assert call.target == "/p?z=1&tag=a+b&tag=2&on=true"
    assert (call.headers["x-count"], call.headers["accept"], "x-none" in call.headers) == ("5", "text/csv", False)


@pytest.mark.parametrize(
    ("config", "content_type", "body"),
    [
        ({"body": [1, None, "é"]}, "application/json", '[1,null,"é"]'.encode()),
        ({"form": {"a": "x &", "b": [1, 2], "c": None}}, "application/x-www-form-urlencoded", b"a=x+%26&b=1&b=2"),
        ({"text": "<a/>", "headers": {"content-type": "text/xml"}}, "text/xml", b"<a/>"),
        ({"base64": base64.b64encode(b"\x00\xff").decode()}, "application/octet-stream", b"\x00\xff"),
        ({"base64": "AP-_", "headers": {"Content-Type": "image/png"}}, "image/png", b"\x00\xff\xbf"),
    ],
)  # fmt: skip
async def test_a_body(
    effects: OwnedEffects, vendor: Vendor, config: dict[str, Any], content_type: str, body: bytes
) -> None:
    await run(effects, "http_request", url=vendor.url, **config)
    call = vendor.the_call()
    assert (call.headers["content-type"], call.body) == (content_type, body)


def parts_of(call: Call) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart body, read by other people's code."""
    head = f"Content-Type: {call.headers['content-type']}\r\n\r\n".encode()
    message: Any = message_from_bytes(head + call.body)
    return [
        ({name.lower(): value for name, value in part.items()}, part.get_payload(decode=True))
        for part in message.get_payload()
    ]


async def test_a_multipart_body(effects: OwnedEffects, vendor: Vendor) -> None:
    config: dict[str, Any] = {
        "multipart": [
            {"name": "title", "value": "Grüße"}, {"name": "n", "value": 5}, {"name": "meta", "value": {"a": 1}},
            {"name": 'a"b\r\nX: 1', "value": ""},
            {"name": "file", "base64": "AP8=", "filename": "x.bin"},
            {"name": "page", "value": "<p>", "filename": "p.html", "content_type": "text/html"},
        ],
        "headers": {"Content-Type": "multipart/form-data"},
    }  # fmt: skip
    await run(effects, "http_request", url=vendor.url, **config)
    await run(effects, "http_request", url=vendor.url, **config)
    first, second = vendor.calls
    assert (first.body, first.headers["content-type"]) == (second.body, second.headers["content-type"])
    assert parts_of(first) == [
        ({"content-disposition": 'form-data; name="title"'}, "Grüße".encode()),
        ({"content-disposition": 'form-data; name="n"'}, b"5"),
        ({"content-disposition": 'form-data; name="meta"', "content-type": "application/json"}, b'{"a":1}'),
        ({"content-disposition": 'form-data; name="a%22b%0D%0AX: 1"'}, b""),
        (
            {
                "content-disposition": 'form-data; name="file"; filename="x.bin"',
                "content-type": "application/octet-stream",
            },
            b"\x00\xff",
        ),
        ({"content-disposition": 'form-data; name="page"; filename="p.html"', "content-type": "text/html"}, b"<p>"),
    ]


@pytest.mark.parametrize(
    ("given", "response", "body", "is_base64"),
    [
        ((b'{"a": 1}', "application/json"), "auto", {"a": 1}, False),
        ((b'{"a": 1}', "text/plain"), "json", {"a": 1}, False),
        ((b'{"a": 1}', "application/json"), "text", '{"a": 1}', False),
        ((b"\xe9", "text/plain; charset=iso-8859-1"), "text", "é", False),
        ((b"\xff\xfe", "application/octet-stream"), "text", "��", False),
        ((b'{"a": 1}', "application/json"), "bytes", "eyJhIjogMX0=", True),
        ((b"", "application/json"), "json", None, False),
        ((b"", "text/plain"), "text", "", False),
        ((b"\xff\xfe", "application/octet-stream"), "auto", "//4=", True),
    ],
)
async def test_an_answer_is_read_as_asked_for(
    effects: OwnedEffects, vendor: Vendor, given: tuple[bytes, str], response: str, body: Any, is_base64: bool
) -> None:
    vendor.answers(200, given[0], Content_Type=given[1])
    output = await run(effects, "http_request", url=vendor.url, response=response)
    assert (output["body"], output["base64"]) == (body, is_base64)


async def test_json_was_asked_for_and_did_not_come(effects: OwnedEffects, vendor: Vendor) -> None:
    vendor.answers(200, b"<html>", Content_Type="application/json")
    failure = await failure_of(effects, "http_request", url=vendor.url, response="json")
    assert (failure.error_class, failure.message) == ("invalid_response", "the answer is not JSON")
    vendor.answers(503, b"<html>", Content_Type="text/html")
    failure = await failure_of(effects, "http_request", url=vendor.url, response="json")
    assert (failure.error_class, failure.http_status) == ("http_status", 503)


@pytest.mark.parametrize(
    ("status", "good", "fails"),
    [(204, None, False), (404, None, True), (404, [404], False), (404, ["4xx"], False), (200, ["3xx", 404], True),
     (302, ["2xx"], True), (409, ["2xx", "409"], False)],
)  # fmt: skip
async def test_which_status_is_good(
    effects: OwnedEffects, vendor: Vendor, status: int, good: list[Any] | None, fails: bool
) -> None:
    vendor.answers(status, Retry_After="7")
    if fails:
        failure = await failure_of(effects, "http_request", url=vendor.url, success_status=good)
        assert (failure.error_class, failure.http_status, failure.retry_after_seconds) == ("http_status", status, 7)
    else:
        assert (await run(effects, "http_request", url=vendor.url, success_status=good))["status"] == status


async def test_the_size_of_an_answer_has_a_cap(effects: OwnedEffects, vendor: Vendor) -> None:
    vendor.answers(200, b"x" * 101)
    failure = await failure_of(effects, "http_request", url=vendor.url, max_response_bytes=100)
    assert failure.error_class == "too_large"
    assert (await run(effects, "http_request", url=vendor.url, max_response_bytes="101"))["body"] == "x" * 101


async def test_a_certificate_is_checked_unless_the_config_says_otherwise(certificate: Certificate) -> None:
    async with effects_with() as effects, serving(certificate.server_context()) as vendor:
        failure = await failure_of(effects, "http_request", url=vendor.url)
        assert (failure.error_class, vendor.calls) == ("connection", [])
        assert (await run(effects, "http_request", url=vendor.url, verify_tls=False))["status"] == 200
        assert (await failure_of(effects, "http_request", url=vendor.url)).error_class == "connection"


async def test_what_templates_gave_is_read_as_what_is_wanted(effects: OwnedEffects, vendor: Vendor) -> None:
    auth = {"type": "basic", "username": 5, "password": 1.5}
    await run(effects, "http_request", url=vendor.url, text=12, follow_redirects="true", auth=auth)
    call = vendor.the_call()
    assert (call.body, call.headers["authorization"]) == (b"12", "Basic " + base64.b64encode(b"5:1.5").decode())


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"url": None}, "url"), ({"success_status": [1000]}, "success_status[0]"), ({"base64": "é"}, "base64"),
        ({"auth": {"type": "bearer"}}, "auth.token"), ({"auth": {"type": "magic", "token": "t0ken"}}, "auth.type"),
        ({"multipart": [{"name": "a", "base64": "%"}]}, "multipart[0].base64"), ({"response": "xml"}, "response"),
        ({"multipart": [{"name": "a", "value": 1, "content_type": "a\r\nb: c"}]}, "multipart[0].content_type"),
        ({"max_response_bytes": 10**9}, "max_response_bytes"), ({"query": "a=b"}, "query"),
    ],
)  # fmt: skip
async def test_a_rendered_config_that_is_wrong(
    effects: OwnedEffects, vendor: Vendor, config: dict[str, Any], path: str
) -> None:
    failure = await failure_of(effects, "http_request", **{"url": vendor.url, **config})
    assert (failure.error_class, failure.message.split()[0]) == ("invalid_config", path)
    assert vendor.calls == []
    assert "t0ken" not in json.dumps(failure.message)
