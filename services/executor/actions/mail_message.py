"""A mail as bytes (RFC 5322), from a rendered config. No field can bring a header of its own: what holds a line break
is refused. Raises `ActionFailed` with every fault.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from mimetypes import guess_type
from typing import Any

import msgspec

from libs.common.domain.action_config import invalid_config
from libs.common.domain.configs.messages import MAX_RECIPIENTS, MAX_SUBJECT, Attachment, SendEmailConfig
from libs.common.domain.pure_actions import ActionFailed
from libs.common.errors import Fault
from services.executor.actions.bodies import decode_base64

MAX_ATTACHED_BYTES = 10 * 1_048_576

_POLICY = SMTP.clone(cte_type="7bit")
_UNSOUND = re.compile(r"[\x00-\x1f\x7f]|=\?")
"""Line breaks, and the beginning of encoded words, by which a line break could come in unseen (RFC 2047)."""
_ADDRESS = re.compile(
    r"""(?:(?:"(?P<quoted>(?:[^"\\]|\\.)*)"[ ]*|(?P<name>[^"<>,@]*))<(?P<inside>[^<>\s,"]+)>|(?P<bare>[^<>\s,"]+))"""
    r"[ ]*(?:,|$)"
)
"""`Ada <ada@example.com>`, `"Ada, Countess" <ada@example.com>` or `ada@example.com`, to the next comma."""
_QUOTED_PAIR = re.compile(r"\\(.)")
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_LONGEST = 10_000
_MEDIA_TYPE = re.compile(r"([A-Za-z0-9!#$&^_.+-]+)/([A-Za-z0-9!#$&^_.+-]+)")
_OCTETS = "application/octet-stream"


class Mail(msgspec.Struct, frozen=True):
    """What goes to the server: the envelope, and the message."""

    sender: str
    recipients: list[str]
    message_id: str
    content: bytes


def build_mail(wanted: SendEmailConfig, sender: str, key: str, now: datetime) -> Mail:
    """The mail. `sender`: an address, perhaps with a name. `key` is the same for every attempt, and so is the
    `Message-ID`.
    """
    faults: list[Fault] = []
    (author, *_) = _addresses(sender, "from", faults) or [Address("", "nobody", "invalid")]
    to, cc, bcc = (_addresses(getattr(wanted, name), name, faults) for name in ("to", "cc", "bcc"))
    recipients = list(dict.fromkeys(_bare(one) for one in (*to, *cc, *bcc)))
    if not recipients or len(recipients) > MAX_RECIPIENTS:
        faults.append(Fault("to", f"there must be 1 to {MAX_RECIPIENTS} recipients"))
    message_id = f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{author.domain}>"
    message = EmailMessage(policy=_POLICY)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = message_id
    _set_addresses(message, {"From": [author], "To": to, "Cc": cc})
    _set_addresses(message, {"Reply-To": _addresses(wanted.reply_to, "reply_to", faults)})
    if _UNSOUND.search(wanted.subject) or len(wanted.subject) > MAX_SUBJECT:
        faults.append(Fault("subject", f"must be one line of at most {MAX_SUBJECT} characters, without =?"))
    else:
        message["Subject"] = wanted.subject
    _fill(message, wanted)
    _attach(message, wanted.attachments, faults)
    if faults:
        raise ActionFailed(invalid_config(faults))
    return Mail(_bare(author), recipients, message_id, message.as_bytes())


def _addresses(given: Any, path: str, faults: list[Fault]) -> list[Address]:
    texts: Sequence[str] = [given] if isinstance(given, str) else given or ()
    found: list[Address] = []
    for text in texts:
        read = _read(text)
        if read is None:
            faults.append(Fault(path, "holds what is no address"))
        else:
            found += read
    return found


def _read(text: str) -> list[Address] | None:
    """The addresses of one text; None when one of them is none."""
    if _UNSOUND.search(text) or len(text) > _LONGEST:
        return None
    found: list[Address] = []
    rest = text.strip()
    while rest:
        match = _ADDRESS.match(rest)
        address = None if match is None else _sound(match)
        if match is None or address is None:
            return None
        found.append(address)
        rest = rest[match.end() :].lstrip()
    return found


def _sound(match: re.Match[str]) -> Address | None:
    """The address with its domain in ASCII; None for what no server takes."""
    name = _QUOTED_PAIR.sub(r"\1", match["quoted"]) if match["quoted"] is not None else (match["name"] or "").strip()
    local, _, domain = (match["inside"] or match["bare"]).rpartition("@")
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        return None
    if _LOCAL_PART.fullmatch(local) is None or _DOMAIN.fullmatch(domain) is None:
        return None
    return Address(name, local, domain)


def _bare(address: Address) -> str:
    return f"{address.username}@{address.domain}"


def _set_addresses(message: EmailMessage, named: dict[str, list[Address]]) -> None:
    for name, addresses in named.items():
        if addresses:
            message[name] = addresses


def _fill(message: EmailMessage, wanted: SendEmailConfig) -> None:
    if wanted.text is not None or wanted.html is None:
        message.set_content(wanted.text or "")
    if wanted.html is not None and wanted.text is not None:
        message.add_alternative(wanted.html, subtype="html")
    elif wanted.html is not None:
        message.set_content(wanted.html, subtype="html")


def _attach(message: EmailMessage, attachments: Sequence[Attachment], faults: list[Fault]) -> None:
    total = 0
    for place, one in enumerate(attachments):
        path = f"attachments[{place}]"
        content = (one.text or "").encode() if one.base64 is None else decode_base64(one.base64, f"{path}.base64")
        total += len(content)
        kind = one.content_type or guess_type(one.filename)[0] or ("text/plain" if one.base64 is None else _OCTETS)
        media_type = _MEDIA_TYPE.fullmatch(kind)
        if media_type is None or _UNSOUND.search(one.filename):
            faults.append(Fault(path, "has a file name or content type that cannot be sent"))
        elif total > MAX_ATTACHED_BYTES:
            faults.append(Fault(path, f"makes more than {MAX_ATTACHED_BYTES // 1_048_576} MiB of attachments"))
        else:
            params = {"charset": "utf-8"} if one.base64 is None and media_type[1] == "text" else None
            message.add_attachment(
                content, maintype=media_type[1], subtype=media_type[2], filename=one.filename, params=params
            )
