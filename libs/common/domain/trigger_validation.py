"""Faults of a trigger's config, by the trigger's type."""

from typing import Any

from libs.common.domain.faults import is_object, struct_faults
from libs.common.domain.paths import kind_of
from libs.common.domain.schedule_validation import schedule_faults
from libs.common.domain.trigger import (
    AUTH_TYPES,
    LATER_AUTH_TYPES,
    EventConfig,
    ManualConfig,
    WebhookConfig,
)
from libs.common.domain.webhook_settings import setting_faults
from libs.common.errors import Fault

_WEAK_SECRET = 8
"""A shared secret shorter than this many characters is refused."""


def trigger_config_faults(kind: object, config: dict[str, Any], path: str) -> list[Fault]:
    """Every fault of `config` read for a trigger of type `kind`; none for an unknown type, which is a fault of its
    own.
    """
    match kind:
        case "webhook":
            return webhook_faults(config, path)
        case "schedule":
            return schedule_faults(config, path)
        case "event":
            return struct_faults(config, EventConfig, path)
        case "manual":
            return struct_faults(config, ManualConfig, path)
        case _:
            return []


def webhook_faults(config: dict[str, Any], path: str) -> list[Fault]:
    """Every fault of the config of a webhook trigger."""
    faults = struct_faults(config, WebhookConfig, path, skip=("auth",)) + setting_faults(config, path)
    return faults + _auth_faults(config["auth"], f"{path}.auth") if "auth" in config else faults


def _auth_faults(auth: object, path: str) -> list[Fault]:
    if not is_object(auth):
        return [Fault(path, f"must be an object, not {kind_of(auth)}")]
    kind = auth.get("type")
    if not isinstance(kind, str):
        return [Fault(f"{path}.type", f"must be one of {', '.join(AUTH_TYPES)}")]
    if kind in LATER_AUTH_TYPES:
        return [Fault(f"{path}.type", f"{kind!r} is not supported yet")]
    if kind not in AUTH_TYPES:
        return [Fault(f"{path}.type", f"must be one of {', '.join(AUTH_TYPES)}, not {kind[:64]!r}")]
    faults = struct_faults(auth, AUTH_TYPES[kind], path, skip=("type",))
    for name in ("secret", "token"):
        value = auth.get(name)
        if isinstance(value, str) and 0 < len(value) < _WEAK_SECRET:
            faults.append(Fault(f"{path}.{name}", f"must have at least {_WEAK_SECRET} characters"))
    if kind == "hmac" and not faults:
        faults += _content_faults(auth, path)
    return faults


def _content_faults(auth: dict[str, Any], path: str) -> list[Fault]:
    """The signed content must hold the body, and the timestamp exactly when there is a header for it."""
    content, stamped = auth.get("signed_content"), auth.get("timestamp_header") is not None
    if content is None:
        return []
    if content.count("{body}") != 1:
        return [Fault(f"{path}.signed_content", "must hold {body} once")]
    if ("{timestamp}" in content) != stamped:
        return [Fault(f"{path}.signed_content", "timestamp_header and {timestamp} go together")]
    return []
