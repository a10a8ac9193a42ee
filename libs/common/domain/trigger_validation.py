"""Faults of a trigger's config, by the trigger's type."""

from collections.abc import Collection, Sequence
from typing import Any

from libs.common.domain.faults import is_object, struct_faults
from libs.common.domain.schedule_validation import schedule_faults
from libs.common.domain.trigger import EventConfig, ManualConfig, WebhookConfig
from libs.common.domain.webhook_auth_validation import auth_faults
from libs.common.domain.webhook_settings import event_setting_faults, setting_faults
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
            return struct_faults(config, EventConfig, path) + event_setting_faults(config, path)
        case "manual":
            return struct_faults(config, ManualConfig, path)
        case _:
            return []


def webhook_slug(trigger: object) -> str | None:
    """The readable part of a webhook's address, if the trigger (as JSON) is one and has it."""
    config: object = trigger.get("config") if is_object(trigger) and trigger.get("type") == "webhook" else None
    slug: object = config.get("slug") if is_object(config) else None
    return slug if isinstance(slug, str) else None


def slug_faults(triggers: Sequence[object], taken: Collection[str] = ()) -> list[Fault]:
    """Slugs that two of the triggers have, or that are `taken`."""
    faults: list[Fault] = []
    first: dict[str, int] = {}
    for index, trigger in enumerate(triggers):
        slug, path = webhook_slug(trigger), f"triggers[{index}].config.slug"
        if slug is not None and first.setdefault(slug, index) != index:
            faults.append(Fault(path, f"{slug[:64]!r} is already the slug of triggers[{first[slug]}]"))
        elif slug in taken:
            faults.append(Fault(path, f"{slug!r} is the slug of another workflow's webhook"))
    return faults


def webhook_faults(config: dict[str, Any], path: str) -> list[Fault]:
    """Every fault of the config of a webhook trigger."""
    faults = struct_faults(config, WebhookConfig, path, skip=("auth",)) + setting_faults(config, path)
    return faults + auth_faults(config["auth"], f"{path}.auth") if "auth" in config else faults
