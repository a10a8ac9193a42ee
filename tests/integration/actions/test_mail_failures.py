"""`send_email` when something is wrong: which failures are worth another attempt, and what never leaves."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.retry import is_retryable
from libs.common.domain.workflow import RetryPolicy
from services.executor.actions.all import OwnedEffects
from services.executor.actions.base import Attempt
from tests.integration.actions.certificates import Certificate
from tests.integration.actions.conftest import ATTEMPT, effects_with, failure_of, run
from tests.integration.actions.mail_server import USER, serving_mail
from tests.integration.actions.test_mail import MAIL, server_of
from tests.servers import free_port

CROWD = ",".join(f"c{number}@example.com" for number in range(60))
TWO = ["ada@example.com", "bob@example.com"]


@pytest.mark.parametrize(
    ("replies", "error_class", "again"),
    [
        ({"MAIL": "451 4.7.1 Greylisted"}, "unavailable", True), ({"MAIL": "550 5.7.1 No"}, "rejected", False),
        ({"DATA": "452 4.3.1 Full"}, "unavailable", True), ({"DATA": "554 5.6.0 Spam"}, "rejected", False),
        ({"ada@example.com": "450 4.2.1 Busy", "bob@example.com": "550 5.1.1 Unknown"}, "unavailable", True),
        ({"ada@example.com": "550 5.1.1 Unknown", "bob@example.com": "553 5.1.3 Bad"}, "rejected", False),
    ],
)  # fmt: skip
async def test_what_is_refused_for_now_is_tried_again(
    effects: OwnedEffects, replies: dict[str, str], error_class: str, again: bool
) -> None:
    async with serving_mail() as box:
        box.replies = replies
        failure = await failure_of(effects, "send_email", **{**MAIL, "to": TWO}, text="t", server=server_of(box))
        assert box.mails == []
    assert failure.error_class == error_class
    assert any(reply[:3] in failure.message and reply[4:] in failure.message for reply in replies.values())
    assert is_retryable(RetryPolicy(), failure.error_class, failure.http_status) is again


async def test_some_recipients_are_refused_and_the_others_have_the_mail(effects: OwnedEffects) -> None:
    async with serving_mail() as box:
        box.replies = {"bob@example.com": "550 5.1.1 Unknown"}
        output = await run(effects, "send_email", **{**MAIL, "to": TWO}, text="t", server=server_of(box))
        assert box.the_mail().recipients == ["ada@example.com"]
    assert output["accepted"] == ["ada@example.com"]
    assert output["refused"] == [{"to": "bob@example.com", "code": 550}]


async def test_a_credential_that_is_wrong(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    async with effects_with() as effects, serving_mail(starttls=certificate.server_context(), login=True) as box:
        server = server_of(box, security="starttls", username=USER, password="wr0ng")
        failure = await failure_of(effects, "send_email", **MAIL, text="t", server=server)
    assert (failure.error_class, "wr0ng" in failure.message) == ("authentication", False)
    assert not is_retryable(RetryPolicy(), failure.error_class, None)


async def test_nobody_listens(effects: OwnedEffects) -> None:
    server = {"host": "127.0.0.1", "port": free_port(), "security": "none"}
    assert (await failure_of(effects, "send_email", **MAIL, text="t", server=server)).error_class == "connection"
    server = {"host": "no..name", "security": "none"}
    assert (await failure_of(effects, "send_email", **MAIL, text="t", server=server)).error_class == "connection"


@pytest.mark.parametrize(("first_line", "error_class"), [(b"", "connection"), (b"554 go away\r\n", "rejected")])
async def test_a_server_that_hangs_up(effects: OwnedEffects, first_line: bytes, error_class: str) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first_line)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        config = {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1], "security": "none"}
        failure = await failure_of(effects, "send_email", **MAIL, text="t", server=config)
    assert failure.error_class == error_class


async def test_another_worker_has_the_execution_by_now(effects: OwnedEffects) -> None:
    async def taken() -> bool:
        return False

    async with serving_mail() as box:
        attempt = msgspec.structs.replace(ATTEMPT, is_still_ours=taken)
        config = {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t", "server": server_of(box)}
        with pytest.raises(ActionFailed) as failed:
            await effects.types()["send_email"](config, attempt)
        assert (failed.value.failure.error_class, box.mails) == ("lost", [])


async def test_a_server_that_never_speaks(effects: OwnedEffects) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = {
            "from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t",
            "server": {"host": "127.0.0.1", "port": port, "security": "none"},
        }  # fmt: skip
        with pytest.raises(Exception, match="did not answer in time") as failed:
            await effects.types()["send_email"](config, Attempt("key", 0.2, "", UUID(int=1)))
    assert failed.value.failure.error_class == "timeout"  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"subject": "a\r\nBcc: spy@example.com"}, "subject"), ({"subject": "x" * 1_001}, "subject"),
        ({"to": "ada@example.com\r\nRCPT TO:<spy@example.com>"}, "to"), ({"to": "ada@example.com>\nX: y"}, "to"),
        ({"from_": "a@example.com\nBcc: spy@example.com"}, "from"), ({"to": "ada"}, "to"), ({"to": []}, "to"),
        ({"to": "Ada ada@example.com"}, "to"), ({"to": "ada@example.com bob@example.com"}, "to"),
        ({"cc": "\u00e4da@example.com"}, "cc"), ({"bcc": ["a@b@c"]}, "bcc"), ({"reply_to": "x@y\x00"}, "reply_to"),
        ({"from_": "=?utf-8?q?a=0d=0ab?= <a@example.com>"}, "from"), ({"to": "ada@exa..mple"}, "to"),
        ({"to": [f"n{number}@example.com" for number in range(60)], "cc": CROWD}, "to"), ({"to": "(" * 9_000}, "to"),
        ({"subject": "=?utf-8?q?a=0d=0aBcc:_spy@example.com?="}, "subject"), ({"to": "a@b.c" + " " * 999 + "x"}, "to"),
        ({"attachments": [{"filename": "a\r\nX: y", "text": ""}]}, "attachments[0]"),
        ({"attachments": [{"filename": "a", "text": "", "content_type": "text/plain\r\nX: y"}]}, "attachments[0]"),
        ({"attachments": [{"filename": "a", "base64": "n%t"}]}, "attachments[0].base64"),
        ({"attachments": [{"filename": "a", "text": "x" * 6_000_000}] * 2}, "attachments[1]"),
        ({"attachments": [{"filename": "a", "text": ""}] * 21}, "attachments"),
        ({"server": {"host": "h", "port": 0}}, "server.port"), ({"server": {"host": ""}}, "server.host"),
    ],
)  # fmt: skip
async def test_what_is_refused_before_anything_is_sent(
    effects: OwnedEffects, change: dict[str, Any], path: str
) -> None:
    async with serving_mail() as box:
        config = {**MAIL, "text": "t", "server": server_of(box), **change}
        failure = await failure_of(effects, "send_email", **config)
        assert box.connections == 0
    assert (failure.error_class, failure.message.split()[0]) == ("invalid_config", path)
    assert "spy@" not in failure.message


async def test_no_server_at_all(effects: OwnedEffects) -> None:
    failure = await failure_of(effects, "send_email", **MAIL, text="t")
    assert (failure.error_class, failure.message.split()[0]) == ("invalid_config", "server")
