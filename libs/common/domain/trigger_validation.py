"""Faults of a trigger's config, by the trigger's type."""

from typing import Any

from libs.common.domain.faults import struct_faults
from libs.common.domain.schedule_validation import schedule_faults
from libs.common.domain.trigger import EventConfig, ManualConfig, WebhookConfig
from libs.common.domain.webhook_auth_validation import auth_faults
from libs.common.domain.webhook_settings import setting_faults
from libs.common.errors import Fault


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
    return faults + auth_faults(config["auth"], f"{path}.auth") if "auth" in config else faults
