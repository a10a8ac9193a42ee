"""Triggers as values: what starts a workflow, and the typed form of each kind's configuration.

A `TriggerSpec` keeps its config as the API's JSON; `webhook_config`, `schedule_config` and `event_config` give the
typed form of an accepted one.
"""

from typing import Annotated, Any, Literal

import msgspec

from libs.common.domain.event_names import PATTERN
from libs.common.domain.schedule_config import ScheduleConfig
from libs.common.domain.webhook_auth import WebhookAuth
from libs.common.domain.webhook_settings import CONTENT_TYPE, ORIGIN, RATE, WEBHOOK_SLUG, Template, WebhookResponse

MAX_WEBHOOK_BYTES = 26_214_400
DEFAULT_WEBHOOK_BYTES = 1_048_576

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class TriggerSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One trigger of a definition. `conditions` must hold for a firing to become an execution. `priority`: of what it
    starts, where the workflow's is not meant.
    """

    key: Annotated[str, msgspec.Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
    type: Literal["manual", "schedule", "webhook", "event"]
    config: dict[str, Any] = {}
    conditions: list[Any] | dict[str, Any] | None = None
    enabled: bool = True
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] | None = None


class WebhookConfig(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How an incoming call is checked, what it becomes and what is answered.

    Without `auth` the call must bring the token of the trigger's address; whoever wants an open door says `none`.
    `slug`: the address is `/webhooks/{the tenant's slug}/{slug}` as well.
    `networks`, `origins`, `content_types` empty: any. `rate`: `100/h`. Templates over the call: `transform` gives the
    workflow's input, `dedupe_key` tells calls apart, `event` names an event that the call raises as well.
    """

    auth: WebhookAuth | None = None
    slug: Annotated[str, msgspec.Meta(pattern=WEBHOOK_SLUG)] | None = None
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
    """Which events start the workflow: a name, or the beginning of names as in `deal.*`; `*` is every event.

    `transform`: a template over the event that gives the workflow's input.
    """

    event: Annotated[str, msgspec.Meta(pattern=PATTERN)]
    transform: Any = None


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
