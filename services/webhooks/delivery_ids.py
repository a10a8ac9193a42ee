"""What senders call their deliveries, so that one that is sent again starts nothing again.

A trigger's own `dedupe_key` rules alone. Without one it is the id that the vendor documents, in a header or in the
body, and for everybody else `Idempotency-Key`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from libs.common.domain.faults import is_object
from libs.common.domain.trigger import WebhookConfig
from libs.common.webhook_rules import MAX_DEDUPE_CHARACTERS, dedupe_id
from services.webhooks.call import Call
from services.webhooks.triggers import WebhookTrigger

_ANYBODY = ("idempotency-key",)
_HEADERS: Mapping[str, Sequence[str]] = {
    "github": ("x-github-delivery",),
    "gitlab": ("idempotency-key", "x-gitlab-event-uuid"),
    "linear": ("linear-delivery",),
    "shopify": ("x-shopify-webhook-id",),
    "slack": (),
    "standard_webhooks": ("webhook-id", "svix-id"),
    "stripe": (),
    "twilio": ("i-twilio-idempotency-token",),
}
"""By the type of the trigger's auth."""
_BODY_NAMES: Mapping[str, str] = {"stripe": "id", "slack": "event_id"}


def delivery_of(trigger: WebhookTrigger, call: Call, data: Mapping[str, Any], now: datetime) -> bytes | None:
    """SHA-256 of what the sender calls this delivery; None: nothing, or the trigger can't tell."""
    if trigger.rules.dedupe_key is not None:
        text = dedupe_id(trigger.rules, trigger.facts, data, now)
    else:
        kind = _kind(trigger.config)
        text = _from_headers(call, _HEADERS.get(kind, _ANYBODY)) or _from_body(data["body"], _BODY_NAMES.get(kind))
    return None if not text else hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _kind(config: WebhookConfig) -> str:
    return "" if config.auth is None else str(config.auth.__struct_config__.tag)


def _from_headers(call: Call, names: Sequence[str]) -> str:
    return next((call.headers[name][:MAX_DEDUPE_CHARACTERS] for name in names if call.headers.get(name)), "")


def _from_body(body: Any, name: str | None) -> str:
    value: object = body.get(name) if name is not None and is_object(body) else None
    return value[:MAX_DEDUPE_CHARACTERS] if isinstance(value, str) else ""
