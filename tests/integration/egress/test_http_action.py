"""The action `http_request`: what it sends of a config, what it makes of an answer, and whom it may call."""

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.errors import OperatorError
from libs.common.security.egress import EgressPolicy
from libs.common.settings import load_settings
from services.executor.actions.base import Attempt
from services.executor.actions.client import GuardedClient
from services.executor.actions.http import HttpAction
from tests.integration.egress.conftest import Site, raw_answer, raw_site

ATTEMPT = Attempt("execution:action:0", 5.0, "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", UUID(int=1))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Noon:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOON


@asynccontextmanager
async def action(allowed: str = "127.0.0.1/32") -> AsyncGenerator[HttpAction]:
    """The action in an installation whose operator opened these networks."""
    client = GuardedClient(EgressPolicy(load_settings({"SIGNALBOX_EGRESS_ALLOW": allowed}).egress_allow), Noon())
    yield HttpAction(client)
    await client.close()


async def failure_of(run: HttpAction, config: dict[str, Any]) -> Failure:
    with pytest.raises(ActionFailed) as failed:
        await run.run(config, ATTEMPT)
    return failed.value.failure


@pytest.mark.parametrize(
    ("allowed", "open_to_it"),
    [("127.0.0.1/32", True), ("10.0.0.0/8, 127.0.0.1", True), ("127.0.0.1/8", True), ("", False),
     ("10.0.0.0/8", False), ("0.0.0.0/0", False), ("0.0.0.0/0, ::/0", False), ("127.0.0.2/32", False)],
)  # fmt: skip
async def test_the_operator_says_which_networks_are_open(site: Site, allowed: str, open_to_it: bool) -> None:
    async with action(allowed) as run:
        if open_to_it:
            assert (await run.run({"url": site.url("/json")}, ATTEMPT))["body"] == {"ok": True}
        else:
            failure = await failure_of(run, {"url": site.url("/json")})
            assert (failure.error_class, failure.message) == ("blocked", "The destination is not allowed.")
    assert (site.seen != []) is open_to_it


@pytest.mark.parametrize("text", ["10.0.0.0/33", "localhost", "10.0.0.0/8;::1", "10.0.0.*"])
def test_a_network_that_is_none_stops_the_process(text: str) -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_EGRESS_ALLOW"):
        load_settings({"SIGNALBOX_EGRESS_ALLOW": text})


@pytest.mark.parametrize(
    ("config", "content_type", "body"),
    [
        ({"body": {"a": [1, None, "é"]}}, "application/json", '{"a":[1,null,"é"]}'),
        ({"body": "text"}, "application/json", '"text"'),
        ({"form": {"a": "x y&", "n": 1}}, "application/x-www-form-urlencoded", "a=x+y%26&n=1"),
        ({"text": "plain é"}, "text/plain; charset=utf-8", "plain é"),
        ({"text": "<a/>", "headers": {"content-type": "text/xml"}}, "text/xml", "<a/>"),
    ],
)
async def test_a_body_is_sent_as_the_config_says(
    site: Site, config: dict[str, Any], content_type: str, body: str
) -> None:
    async with action() as run:
        await run.run({"url": site.url("/"), "query": {"page": 2, "q": "a b"}, **config}, ATTEMPT)
    (seen,) = site.seen
    assert (seen.method, seen.target, seen.body.decode()) == ("POST", "/?page=2&q=a+b", body)
    assert seen.headers["content-type"] == content_type


async def test_every_request_says_which_work_it_is_and_who_sends_it(site: Site) -> None:
    async with action() as run:
        await run.run({"url": site.url("/"), "method": "get"}, ATTEMPT)
        await run.run({"url": site.url("/"), "headers": {"idempotency-key": "own", "user-agent": "own"}}, ATTEMPT)
    first, second = site.seen
    assert (first.method, first.headers["idempotency-key"]) == ("GET", ATTEMPT.idempotency_key)
    assert (first.headers["traceparent"], first.headers["user-agent"]) == (ATTEMPT.traceparent, "Signalbox")
    assert (second.headers["idempotency-key"], second.headers["user-agent"]) == ("own", "own")


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": "t"}, "authorization", "Bearer t"),
        (
            {"type": "basic", "username": "us", "password": "p:é"}, "authorization",
            "Basic " + base64.b64encode("us:p:é".encode()).decode(),
        ),
        ({"type": "header", "name": "X-Key", "value": "v"}, "x-key", "v"),
    ],
)  # fmt: skip
async def test_a_credential_is_sent_once_and_wins(site: Site, auth: dict[str, str], header: str, value: str) -> None:
    async with action() as run:
        await run.run({"url": site.url("/"), "headers": {header: "from the headers"}, "auth": auth}, ATTEMPT)
    assert site.seen[0].headers[header] == value


@pytest.mark.parametrize(
    ("config", "error_class"),
    [
        ({}, "invalid_config"), ({"url": 3}, "invalid_request"), ({"url": "{site}", "mehtod": "GET"}, "invalid_config"),
        ({"url": "{site}", "auth": {"type": "bearer", "token": "line\r\nX-Injected: 1"}}, "invalid_request"),
        ({"url": "{site}", "auth": {"type": "header", "name": "a b", "value": "v"}}, "invalid_request"),
        ({"url": "{site}", "headers": {"X-A": "a\nb"}}, "invalid_request"), ({"url": "/here"}, "invalid_request"),
    ],
)  # fmt: skip
async def test_a_config_that_cannot_be_sent_fails_without_showing_its_values(
    site: Site, config: dict[str, Any], error_class: str
) -> None:
    if config.get("url") == "{site}":
        config = {**config, "url": site.url("/")}
    async with action() as run:
        failure = await failure_of(run, config)
    assert failure.error_class == error_class
    assert "Injected" not in failure.message
    assert site.seen == []


@pytest.mark.parametrize(
    ("status", "success_status", "fails"),
    [(200, None, False), (302, None, False), (399, None, False), (400, None, True), (503, None, True),
     (404, [404], False), (200, [404], True)],
)  # fmt: skip
async def test_which_status_is_good(status: int, success_status: list[int] | None, fails: bool) -> None:
    secret = b"what the endpoint said is not for the error text"
    async with action() as run, raw_site(raw_answer(secret, status=b"%d Some" % status)) as url:
        config = {"url": url, "success_status": success_status}
        if not fails:
            assert (await run.run(config, ATTEMPT))["status"] == status
            return
        failure = await failure_of(run, config)
    assert (failure.error_class, failure.http_status) == ("http_status", status)
    assert failure.message == f"the endpoint answered {status}"


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (b"7", 7), (b"0", 0), (b"Sun, 01 Mar 2026 12:00:30 GMT", 30), (b"Sun, 01 Mar 2026 11:00:00 GMT", 0),
        (b"Sun, 01 Mar 2026 13:00:30 +0100", 30), (b"9" * 400, 86_400), (b"Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        (b"-5", None), (b"1.5", None), (b"soon", None), (b"", None), (b"\xd9\xa7", None),
        (b"Mon, 01 Jan 0001 00:00:00 +2359", 0), (b"Sun, 99 Mar 2026 12:00:30 GMT", None),
    ],
)  # fmt: skip
async def test_when_to_come_back_is_taken_from_the_answer(given: bytes, seconds: float | None) -> None:
    async with action() as run, raw_site(raw_answer(b"", b"Retry-After: " + given, status=b"429 No")) as url:
        failure = await failure_of(run, {"url": url})
    assert failure.retry_after_seconds == seconds
