"""Which SMTP server a mail goes to, and who may be its sender: the tenant's own server, or the installation's."""

from urllib.parse import unquote, urlsplit

import msgspec

from libs.common.domain.action_config import invalid_config
from libs.common.domain.configs.messages import MailServer, SendEmailConfig
from libs.common.domain.pure_actions import ActionFailed
from libs.common.errors import Fault, OperatorError
from libs.common.settings import Settings

_SECURITY = {"smtp": "starttls", "smtps": "tls", "smtp+plain": "none"}
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_FORM = "smtp://user:password@host:587 (STARTTLS), smtps://… (TLS) or smtp+plain://…"


class Route(msgspec.Struct, frozen=True):
    """A server and the sender to name. `guarded`: a tenant named the server, so it must not be inside."""

    server: MailServer
    port: int
    sender: str
    guarded: bool


class MailServers:
    """Knows the installation's server, if there is one."""

    def __init__(self, settings: Settings) -> None:
        """Raises `OperatorError` for an address that is none."""
        url = settings.smtp_url.reveal()
        self._own = _read_url(url) if url else None
        self._sender = settings.mail_from

    def route(self, wanted: SendEmailConfig) -> Route:
        """Where the mail goes, and from whom. Raises `ActionFailed` of the class `invalid_config`.

        On the installation's server everybody's mail has the sender that the operator set, if one is set: or any
        tenant could write in the name of another.
        """
        server = wanted.server or self._own
        if server is None:
            raise _fault("server", "is required: this installation has no mail server")
        own = wanted.server is None
        sender = wanted.sender if not own else self._sender or wanted.sender
        if not sender:
            raise _fault("from", "is required")
        if own and self._sender and wanted.sender not in (None, self._sender):
            raise _fault("from", "is fixed on this installation's mail server; use reply_to, or a server of your own")
        return Route(server, server.port or _PORTS[server.security], sender, guarded=not own)


def _read_url(url: str) -> MailServer:
    wrong = OperatorError(f"SIGNALBOX_SMTP_URL: must be {_FORM}.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    security = _SECURITY.get(parts.scheme)
    if security is None or not parts.hostname or parts.path.strip("/") or parts.query:
        raise wrong
    username, password = parts.username, parts.password
    return MailServer(
        parts.hostname, port, security,  # pyright: ignore[reportArgumentType] - one of the three
        unquote(username) if username else None, unquote(password) if password else None,
    )  # fmt: skip


def _fault(path: str, message: str) -> ActionFailed:
    return ActionFailed(invalid_config([Fault(path, message)]))
