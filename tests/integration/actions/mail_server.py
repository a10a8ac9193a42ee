"""A real SMTP server (aiosmtpd) on this machine, which keeps what it gets and refuses what it is told to."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers import free_port

USER, PASSWORD = "post", "p@ss: w/ö"


@dataclass
class Delivered:
    """One mail that came in: its envelope, and the message as another library reads it."""

    sender: str
    recipients: list[str]
    raw: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)


@dataclass
class MailBox:
    """`replies`: what is answered to the command, or to a recipient; else all is taken."""

    port: int
    mails: list[Delivered] = field(default_factory=list[Delivered])
    replies: dict[str, str] = field(default_factory=dict[str, str])
    connections: int = 0

    def the_mail(self) -> Delivered:
        (mail,) = self.mails
        return mail

    async def handle_EHLO(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.replies.get("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self.replies.get(address, "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        reply = self.replies.get("DATA", "250 OK")
        if reply.startswith("250"):
            user = cast("LoginPassword | None", session.auth_data)
            self.mails.append(
                Delivered(
                    envelope.mail_from or "", list(envelope.rcpt_tos), cast("bytes", envelope.content),
                    session.ssl is not None, user.login.decode() if user else None,
                )
            )  # fmt: skip
        return reply


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False, auth_data=data)


@asynccontextmanager
async def serving_mail(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, login: bool = False
) -> AsyncGenerator[MailBox]:
    """A server that insists on STARTTLS or is behind TLS if it has a context for it, and on a login if told to."""
    box = MailBox(free_port())
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            box, hostname="mail.test", loop=loop, tls_context=starttls, require_starttls=starttls is not None,
            authenticator=_authenticate, auth_required=login, auth_require_tls=login and tls is None,
        )  # fmt: skip

    server = await loop.create_server(protocol, "127.0.0.1", box.port, ssl=tls)
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()
