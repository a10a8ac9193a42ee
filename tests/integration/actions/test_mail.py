"""`send_email` against a real SMTP server: what arrives, over which connection, and from whom."""

import base64
import re
from typing import Any

import pytest

from libs.common.errors import OperatorError
from services.executor.actions.all import OwnedEffects
from tests.integration.actions.certificates import Certificate
from tests.integration.actions.conftest import ATTEMPT, NOON, effects_with, failure_of, run
from tests.integration.actions.mail_server import PASSWORD, USER, MailBox, serving_mail

MAIL: dict[str, Any] = {"from_": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Hello"}


def server_of(box: MailBox, **more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": box.port, "security": "none", **more}


async def test_a_mail_with_everything(effects: OwnedEffects) -> None:
    async with serving_mail() as box:
        output = await run(
            effects, "send_email", from_="Zoë Shop <shop@example.com>", to=["Ada <ada@example.com>", "bob@example.com"],
            cc="Ça va <cc@bücher.example>, cc2@example.com", bcc=["hidden@example.com"], reply_to="help@example.com",
            subject="Größe 42 — “now”", text="plain\n.\nüber", html="<p>über</p>",
            attachments=[
                {"filename": "ä.csv", "text": "a,b\nü"},
                {"filename": "x.bin", "base64": base64.b64encode(bytes(range(256))).decode()},
                {"filename": "page", "text": "<p>", "content_type": "text/html"},
            ],
            server=server_of(box),
        )  # fmt: skip
        mail = box.the_mail()
    everybody = [
        "ada@example.com", "bob@example.com", "cc@xn--bcher-kva.example", "cc2@example.com", "hidden@example.com",
    ]  # fmt: skip
    assert (mail.sender, mail.recipients) == ("shop@example.com", everybody)
    assert (output["accepted"], output["refused"]) == (everybody, [])
    message = mail.message
    assert b"hidden@" not in mail.raw
    assert mail.raw.isascii()
    assert {name: str(message[name]) for name in ("From", "To", "Reply-To", "Subject")} == {
        "From": "Zoë Shop <shop@example.com>", "To": "Ada <ada@example.com>, bob@example.com",
        "Reply-To": "help@example.com", "Subject": "Größe 42 — “now”",
    }  # fmt: skip
    assert message["Cc"].addresses[0].display_name == "Ça va"
    assert message["Date"].datetime == NOON
    assert message["Message-ID"] == output["message_id"]
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert (text.get_content(), html.get_content()) == ("plain\r\n.\r\nüber\r\n", "<p>über</p>\r\n")
    attached = [
        (part.get_filename(), part.get_content_type(), part.get_content()) for part in message.iter_attachments()
    ]
    assert attached == [
        ("ä.csv", "text/csv", "a,b\nü"), ("x.bin", "application/octet-stream", bytes(range(256))),
        ("page", "text/html", "<p>"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["text", "html"])
async def test_one_form_of_the_text(effects: OwnedEffects, name: str) -> None:
    async with serving_mail() as box:
        await run(effects, "send_email", **MAIL, **{name: "<b>x</b>"}, server=server_of(box))
        message = box.the_mail().message
    kind = {"text": "plain", "html": "html"}[name]
    assert (message.get_content_type(), message.get_content()) == (f"text/{kind}", "<b>x</b>\r\n")


async def test_every_attempt_has_the_same_message_id_and_other_actions_another(effects: OwnedEffects) -> None:
    async with serving_mail() as box:
        config = {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t", "server": server_of(box)}
        send = effects.types()["send_email"]
        ids = [(await send(config, ATTEMPT))["message_id"] for _ in range(2)]
        other = await send(config, type(ATTEMPT)("execution:action:1", 10.0, "", ATTEMPT.tenant_id))
        assert ids[0] == ids[1] != other["message_id"]
        assert [mail.message["Message-ID"] for mail in box.mails[:2]] == ids
    assert re.fullmatch(r"<[0-9a-f]{40}@example\.com>", ids[0])


async def test_starttls_with_login(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    async with effects_with() as effects, serving_mail(starttls=certificate.server_context(), login=True) as box:
        server = server_of(box, security="starttls", username=USER, password=PASSWORD)
        await run(effects, "send_email", **MAIL, text="t", server=server)
        mail = box.the_mail()
    assert (mail.encrypted, mail.user) == (True, USER)


async def test_tls_from_the_start(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    async with effects_with() as effects, serving_mail(tls=certificate.server_context()) as box:
        await run(effects, "send_email", **MAIL, text="t", server=server_of(box, security="tls"))
        assert len(box.mails) == 1


async def test_a_certificate_that_nobody_vouches_for(effects: OwnedEffects, certificate: Certificate) -> None:
    context = certificate.server_context()
    for security in ("starttls", "tls"):
        async with serving_mail(**{security: context}) as box:  # pyright: ignore[reportArgumentType] - one of the two
            server = server_of(box, security=security)
            failure = await failure_of(effects, "send_email", **MAIL, text="t", server=server)
            assert (failure.error_class, box.mails) == ("connection", [])
            await run(effects, "send_email", **MAIL, text="t", server={**server, "verify_tls": False})
            assert len(box.mails) == 1


async def test_starttls_that_is_not_offered_is_not_done_without(effects: OwnedEffects) -> None:
    async with serving_mail() as box:
        server = server_of(box, security="starttls", username="u", password="p")
        failure = await failure_of(effects, "send_email", **MAIL, text="t", server=server)
        assert (failure.error_class, box.mails) == ("protocol", [])


async def test_the_installations_server_is_reached_though_it_is_inside(certificate: Certificate) -> None:
    async with serving_mail() as box:
        url, sender = f"smtp+plain://127.0.0.1:{box.port}", "Us <us@example.com>"
        async with effects_with("", SIGNALBOX_SMTP_URL=url, SIGNALBOX_MAIL_FROM=sender) as effects:
            await run(effects, "send_email", to="ada@example.com", subject="s", text="t")
            await run(effects, "send_email", to="ada@example.com", subject="s", text="t", from_="Us <us@example.com>")
            failure = await failure_of(effects, "send_email", **MAIL, text="t")
            assert (failure.error_class, failure.message.split()[0]) == ("invalid_config", "from")
        assert [(mail.sender, str(mail.message["From"])) for mail in box.mails] == [
            ("us@example.com", "Us <us@example.com>")
        ] * 2


async def test_the_installations_server_with_login_and_a_free_sender(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    async with serving_mail(starttls=certificate.server_context(), login=True) as box:
        url = f"smtp://{USER}:p%40ss%3A%20w%2F%C3%B6@127.0.0.1:{box.port}"
        async with effects_with("", SIGNALBOX_SMTP_URL=url) as effects:
            await run(effects, "send_email", **MAIL, text="t")
            failure = await failure_of(effects, "send_email", to="a@example.com", subject="s", text="t")
            assert (failure.error_class, failure.message) == ("invalid_config", "from is required")
        mail = box.the_mail()
    assert (mail.user, mail.sender) == (USER, "shop@example.com")


async def test_a_server_that_a_tenant_names_must_not_be_inside() -> None:
    async with serving_mail() as box, effects_with("", SIGNALBOX_SMTP_URL=f"smtp://127.0.0.1:{box.port}") as effects:
        for host in ("127.0.0.1", "localhost", "2130706433", "::ffff:127.0.0.1", "10.0.0.1"):
            server = {**server_of(box), "host": host}
            failure = await failure_of(effects, "send_email", **MAIL, text="t", server=server)
            assert (failure.error_class, host in failure.message) == ("blocked", False)
        assert box.connections == 0


@pytest.mark.parametrize(
    "url", ["mail.example.com", "http://x", "smtp://", "smtp://h:99999", "smtp://h/path", "smtps://h?x=1"]
)
async def test_an_address_of_the_installations_server_that_is_none(url: str) -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_SMTP_URL"):
        async with effects_with(SIGNALBOX_SMTP_URL=url):
            pass
