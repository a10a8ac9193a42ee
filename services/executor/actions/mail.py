"""`send_email`: hands a mail to an SMTP server.

A server that a tenant names is reached under the egress policy, by the address that was checked. Encryption that was
asked for is insisted on, and the certificate is checked. What a server refuses for now (4xx) is of the class
`unavailable`, which is retried; what it refuses for good (5xx) of the class `rejected`, or `authentication`. When it
takes the mail for some recipients only, the mail is sent: the output names those that were refused.
"""

import asyncio
import ssl
from typing import Any, cast

import aiosmtplib

from libs.common.clock import Clock
from libs.common.domain.action_config import read_config
from libs.common.domain.configs.messages import SendEmailConfig
from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.security.connecting import open_connection
from libs.common.security.egress import BlockedDestination, EgressPolicy
from services.executor.actions.base import Attempt, insist_ours
from services.executor.actions.mail_message import Mail, build_mail
from services.executor.actions.mail_server import MailServers, Route

NAME = "send_email"
_LONGEST_REPLY = 200
_PERMANENT = 500
_CONNECT_SECONDS = 10.0
_GOODBYE_SECONDS = 1.0


class MailAction:
    """The action. Every mail has a connection of its own."""

    def __init__(self, policy: EgressPolicy, servers: MailServers, clock: Clock) -> None:
        self._policy, self._servers, self._clock = policy, servers, clock
        self._contexts: dict[bool, ssl.SSLContext] = {}

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """Send it. Raises `ActionFailed`."""
        wanted: SendEmailConfig = read_config(config, SendEmailConfig)
        route = self._servers.route(wanted)
        mail = build_mail(wanted, route.sender, attempt.idempotency_key, self._clock.now())
        try:
            refused = await self._deliver(route, mail, attempt)
        except (aiosmtplib.SMTPException, OSError, ValueError, BlockedDestination) as error:
            raise ActionFailed(_failure(error)) from None
        accepted = [address for address in mail.recipients if address not in refused]
        return {
            "message_id": mail.message_id,
            "accepted": accepted,
            "refused": [{"to": address, "code": code} for address, code in refused.items()],
        }

    async def _deliver(self, route: Route, mail: Mail, attempt: Attempt) -> dict[str, int]:
        """Returns the recipients that were refused, with the server's code."""
        server, seconds = route.server, attempt.timeout_seconds
        async with asyncio.timeout(min(seconds, _CONNECT_SECONDS)):
            connection = await open_connection(self._policy if route.guarded else None, server.host, route.port)
        smtp = aiosmtplib.SMTP(  # owns the connection from here on
            hostname=server.host, sock=connection, local_hostname=mail.sender.rpartition("@")[2], timeout=seconds,
            use_tls=server.security == "tls", start_tls=False, tls_context=self._context(server.verify_tls),
        )  # fmt: skip
        try:
            await smtp.connect()
            if server.security == "starttls":
                await smtp.starttls()
            if server.username is not None:
                await smtp.login(server.username, server.password or "")
            await insist_ours(attempt)
            refused, _ = await smtp.sendmail(mail.sender, mail.recipients, mail.content)
            return {address: reply.code for address, reply in refused.items()}
        finally:
            await _leave(smtp)

    def _context(self, verify: bool) -> ssl.SSLContext:
        """Made once: reading the certificates takes milliseconds."""
        context = self._contexts.get(verify)
        if context is None:
            context = self._contexts[verify] = ssl.create_default_context()
            if not verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


async def _leave(smtp: aiosmtplib.SMTP) -> None:
    """Whether the server answers the good-bye changes nothing: the mail is delivered, or is not."""
    transport = smtp.transport
    try:
        if smtp.is_connected:
            await smtp.quit(timeout=_GOODBYE_SECONDS)
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        smtp.close()
        if transport is not None:  # a server that does not end its TLS session holds nothing of ours
            cast("asyncio.WriteTransport", transport).abort()


def _failure(error: Exception) -> Failure:
    match error:
        case BlockedDestination():
            return Failure("blocked", error.detail)
        case aiosmtplib.SMTPRecipientsRefused():
            return _of_reply(min(error.recipients, key=lambda one: one.code))
        case aiosmtplib.SMTPAuthenticationError() if error.code >= _PERMANENT:
            return Failure("authentication", f"the mail server does not take the credential ({error.code})")
        case aiosmtplib.SMTPResponseException():
            return _of_reply(error)
        case TimeoutError():
            return Failure("timeout", "the mail server did not answer in time")
        case ssl.SSLError():
            return Failure("connection", "the mail server has no certificate that can be trusted, or speaks no TLS")
        case ValueError():
            return Failure("invalid_request", "the mail cannot be sent in this form")
        case OSError():
            return Failure("connection", "cannot connect to the mail server, or the connection broke")
        case _:
            return Failure("protocol", f"the mail server cannot do this: {error}"[:_LONGEST_REPLY])


def _of_reply(error: aiosmtplib.SMTPResponseException) -> Failure:
    """Temporary (4xx) or permanent (5xx), by RFC 5321, 4.2.1."""
    said = " ".join(str(error.message).split())[:_LONGEST_REPLY]
    error_class = "rejected" if error.code >= _PERMANENT else "unavailable"
    return Failure(error_class, f"the mail server answered {error.code}: {said}")
