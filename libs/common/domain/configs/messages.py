"""Configs of the actions that tell somebody something: mail, SMS, notifications; as a definition holds them."""

import re
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from libs.common.domain.configs.http import url_faults
from libs.common.domain.configs.records import NotifyInAppConfig
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.templates import has_template
from libs.common.errors import Fault

MAX_RECIPIENTS = 100
MAX_ATTACHMENTS = 20
MAX_SUBJECT = 1_000
IN_APP = "in_app"

Addresses: TypeAlias = str | Annotated[list[str], Meta(max_length=MAX_RECIPIENTS)]
"""`ada@example.com`, `Ada <ada@example.com>`; several in a list or with commas."""

_BREAK = re.compile(r"[\x00-\x1f\x7f]")


class MailServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An SMTP server of the tenant. Without `port`: 587 for STARTTLS, 465 for TLS, 25 without encryption.

    STARTTLS is insisted on, so that nobody in between can talk it away.
    """

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: str | None = None
    verify_tls: bool = True


class Attachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file: its content as `text`, or in `base64`. Without `content_type` the name tells."""

    filename: Annotated[str, Meta(min_length=1, max_length=255)]
    text: str | None = None
    base64: str | None = None
    content_type: str | None = None


class SendEmailConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mail, with `text`, `html` or both."""

    to: Annotated[Addresses, Meta(description="addresses, in a list or with commas; may carry names")]
    subject: Annotated[str, Meta(description=f"one line of at most {MAX_SUBJECT} characters")]
    text: Annotated[str | None, Meta(description="the mail as plain text")] = None
    html: Annotated[str | None, Meta(description="the mail as HTML")] = None
    sender: Annotated[str | None, Meta(description="who sends it; on the installation's server this may be fixed")] = (
        msgspec.field(name="from", default=None)
    )
    cc: Annotated[Addresses | None, Meta(description="who gets a copy")] = None
    bcc: Annotated[Addresses | None, Meta(description="who gets a copy that the others do not see")] = None
    reply_to: Annotated[Addresses | None, Meta(description="where answers go")] = None
    attachments: Annotated[
        list[Attachment], Meta(max_length=MAX_ATTACHMENTS, description="files, 10 MiB in all at most")
    ] = []
    server: Annotated[MailServer | None, Meta(description="the SMTP server to use; without it the installation's")] = (
        None
    )


class SendSmsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text message through Twilio, or a service that speaks as Twilio does."""

    account_sid: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", description="the account")]
    auth_token: Annotated[str, Meta(min_length=1, description="its credential: use a secret")]
    to: Annotated[str, Meta(min_length=1, description="the number to send to, `+491701234567`")]
    body: Annotated[str, Meta(min_length=1, max_length=1_600, description="the text")]
    sender: Annotated[
        str | None, Meta(description="the number or name to send from; or else `messaging_service_sid`")
    ] = msgspec.field(name="from", default=None)
    messaging_service_sid: Annotated[str | None, Meta(description="a messaging service in place of `from`")] = None
    base_url: Annotated[str, Meta(description="another address of the service")] = "https://api.twilio.com"


class SlackMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="channel", tag="slack"):
    """To Slack, by an incoming webhook. `*bold*` and the like work; what would mention somebody does not."""

    url: str
    message: str
    title: str | None = None
    payload: dict[str, Any] | None = None


class TeamsMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="channel", tag="teams"):
    """To Microsoft Teams, by the webhook of a workflow ("When a Teams webhook request is received")."""

    url: str
    message: str
    title: str | None = None
    payload: dict[str, Any] | None = None


class DiscordMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="channel", tag="discord"):
    """To Discord, by a webhook. Mentions notify nobody unless `payload` says so."""

    url: str
    message: str
    title: str | None = None
    username: Annotated[str, Meta(max_length=80)] | None = None
    payload: dict[str, Any] | None = None


class GenericMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="channel", tag="generic"):
    """To any webhook that takes `{"title", "message"}` as JSON. `headers` may hold a credential."""

    url: str
    message: str
    title: str | None = None
    headers: dict[str, Any] = {}
    payload: dict[str, Any] | None = None


class InAppMessage(NotifyInAppConfig, frozen=True, forbid_unknown_fields=True, tag_field="channel", tag=IN_APP):
    """To the people of the tenant, by `GET /notifications`. Not an effect but a write to our own database."""


WebhookMessage: TypeAlias = SlackMessage | TeamsMessage | DiscordMessage | GenericMessage
NotificationConfig: TypeAlias = WebhookMessage | InAppMessage
"""A notification. `message` is shortened to what the channel takes; the fields of `payload` go into the vendor's JSON
body beside ours, or in their place.
"""


def email_rules(config: dict[str, Any], path: str) -> list[Fault]:
    """What the fields of a `send_email` alone cannot say."""
    faults: list[Fault] = []
    if config.get("text") is None and config.get("html") is None:
        faults.append(Fault(path, "needs text, html or both"))
    for name in ("to", "cc", "bcc", "reply_to", "from"):
        faults += _address_faults(config.get(name), f"{path}.{name}", needed=name == "to")
    if not has_template(config["subject"]) and _BREAK.search(config["subject"]):
        faults.append(Fault(f"{path}.subject", "must be one line"))
    attachments = config.get("attachments")
    for place, one in enumerate(attachments if is_array(attachments) else ()):
        if is_object(one) and (one.get("text") is None) == (one.get("base64") is None):
            faults.append(Fault(f"{path}.attachments[{place}]", "needs either text or base64"))
    return faults


def sms_rules(config: dict[str, Any], path: str) -> list[Fault]:
    """What the fields of a `send_sms` alone cannot say."""
    faults = url_faults(config.get("base_url", "https://"), f"{path}.base_url")
    if config.get("from") is None and config.get("messaging_service_sid") is None:
        faults.append(Fault(f"{path}.from", "is required, unless there is a messaging_service_sid"))
    return faults


def _address_faults(given: Any, path: str, *, needed: bool) -> list[Fault]:
    texts: list[Any] = given if is_array(given) else [given] if given is not None else []
    if needed and not texts:
        return [Fault(path, "names nobody")]
    plain = [text for text in texts if isinstance(text, str) and not has_template(text)]
    return [
        Fault(path, "is no address, or several lines")
        for text in plain
        if "@" not in text or _BREAK.search(text) is not None
    ][:1]
