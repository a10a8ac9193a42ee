"""Triggers as values: what starts a workflow, and the typed form of each kind's configuration.

A `TriggerSpec` keeps its config as the API's JSON; `webhook_config`, `schedule_config` and `event_config` give the
typed form of an accepted one.
"""

from typing import Annotated, Any, Literal

import msgspec

from libs.common.domain.event_names import PATTERN
from libs.common.domain.schedule_config import ScheduleConfig
from libs.common.domain.webhook_settings import CONTENT_TYPE, ORIGIN, RATE, Template, WebhookResponse

Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
HeaderName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}$")]

MAX_WEBHOOK_BYTES = 26_214_400
DEFAULT_WEBHOOK_BYTES = 1_048_576

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class TriggerSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One trigger of a definition. `conditions` must hold for a firing to become an execution."""

    key: Annotated[str, msgspec.Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
    type: Literal["manual", "schedule", "webhook", "event"]
    config: dict[str, Any] = {}
    conditions: list[Any] | dict[str, Any] | None = None
    enabled: bool = True


class NoAuth(msgspec.Struct, frozen=True, tag_field="type", tag="none", forbid_unknown_fields=True):
    """Whoever knows the address may call it."""


class BearerAuth(msgspec.Struct, frozen=True, tag_field="type", tag="bearer", forbid_unknown_fields=True):
    """`Authorization: Bearer <token>`. A token left out is generated."""

    token: Secret | None = None


class ApiKeyAuth(msgspec.Struct, frozen=True, tag_field="type", tag="api_key", forbid_unknown_fields=True):
    """The token in a header. A token left out is generated."""

    token: Secret | None = None
    header: HeaderName = "X-API-Key"


class HmacAuth(msgspec.Struct, frozen=True, tag_field="type", tag="hmac", forbid_unknown_fields=True):
    """A signature over the raw body in a header, by default `X-Signature-256: <hex of HMAC-SHA256>`.

    With `timestamp_header` (seconds since 1970) the call must be at most `tolerance_seconds` away from now, and what
    is signed is `signed_content`, in which `{timestamp}` and `{body}` stand for the two; without it, the body. A
    secret left out is generated.
    """

    secret: Secret | None = None
    header: HeaderName = "X-Signature-256"
    algorithm: Literal["sha256", "sha512", "sha384", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Annotated[str, msgspec.Meta(max_length=32)] = ""
    timestamp_header: HeaderName | None = None
    tolerance_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    signed_content: Annotated[str, msgspec.Meta(max_length=256)] | None = None

    @property
    def content_template(self) -> str:
        """What is signed: the given template, or the default that fits the presence of a timestamp."""
        return self.signed_content or ("{timestamp}.{body}" if self.timestamp_header else "{body}")


WebhookAuth = NoAuth | BearerAuth | ApiKeyAuth | HmacAuth

AUTH_TYPES: dict[str, type[msgspec.Struct]] = {
    "none": NoAuth,
    "bearer": BearerAuth,
    "api_key": ApiKeyAuth,
    "hmac": HmacAuth,
}
LATER_AUTH_TYPES = frozenset(
    "basic jwt ed25519 github stripe slack shopify gitlab twilio discord linear zoom hubspot standard_webhooks".split()
)


class WebhookConfig(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How an incoming call is checked, what it becomes and what is answered.

    Without `auth` the call must bring the token of the trigger's address; whoever wants an open door says `none`.
    `networks`, `origins`, `content_types` empty: any. `rate`: `100/h`. Templates over the call: `transform` gives the
    workflow's input, `dedupe_key` tells calls apart, `event` names an event that the call raises as well.
    """

    auth: WebhookAuth | None = None
    methods: Annotated[tuple[Method, ...], msgspec.Meta(min_length=1, max_length=6)] = ("POST",)
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_WEBHOOK_BYTES)] = DEFAULT_WEBHOOK_BYTES
    networks: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=64)], ...], msgspec.Meta(max_length=200)] = ()
    origins: Annotated[tuple[Annotated[str, msgspec.Meta(pattern=ORIGIN)], ...], msgspec.Meta(max_length=50)] = ()
    content_types: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=CONTENT_TYPE)], ...], msgspec.Meta(max_length=20)
    ] = ()
    rate: Annotated[str, msgspec.Meta(pattern=RATE)] | None = None
    transform: Any = None
    dedupe_key: Template | None = None
    event: Template | None = None
    response: WebhookResponse = WebhookResponse()


class EventConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events start the workflow: a name, or the beginning of names as in `deal.*`; `*` is every event."""

    event: Annotated[str, msgspec.Meta(pattern=PATTERN)]


class ManualConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A manual trigger has nothing to set."""


def webhook_config(trigger: TriggerSpec) -> WebhookConfig:
    """The typed config of an accepted webhook trigger."""
    return msgspec.convert(trigger.config, WebhookConfig)


def schedule_config(trigger: TriggerSpec) -> ScheduleConfig:
    """The typed config of an accepted schedule trigger."""
    return msgspec.convert(trigger.config, ScheduleConfig)


def event_config(trigger: TriggerSpec) -> EventConfig:
    """The typed config of an accepted event trigger."""
    return msgspec.convert(trigger.config, EventConfig)
