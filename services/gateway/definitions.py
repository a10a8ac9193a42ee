"""Workflow documents as clients send and see them: what is read only, where secrets stand, what is stored of them.

Pure functions over JSON values; none of them changes what it is given.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from libs.common.db.triggers import StoredTrigger
from libs.common.db.workflows import StoredWorkflow
from libs.common.domain import webhook_auth
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.workflow import Definition

MASK = "***"
"""What stands in place of a secret value; sent back, it is as if the secret were left out."""

_WORKFLOW_READ_ONLY = frozenset({"id", "version", "created_at", "updated_at"})
_TRIGGER_READ_ONLY = frozenset({"id", "url", "token", "secret", "next_run_at"})
_ABSENT: Mapping[str, Any] = {
    "description": "",
    "tags": [],
    "triggers": [],
    "actions": [],
    "input_schema": None,
    "output_schema": None,
    "output": None,
    "concurrency": None,
    "timeout_seconds": None,
    "on_failure": None,
}


def without_read_only(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what only we set and without masks, so that what was read can be sent back."""
    document = {name: value for name, value in raw.items() if name not in _WORKFLOW_READ_ONLY}
    triggers: object = document.get("triggers")
    if is_array(triggers):
        document["triggers"] = [_bare_trigger(trigger) for trigger in triggers]
    return document


def stored_document(sent: Mapping[str, Any], definition: Definition) -> dict[str, Any]:
    """What is stored: the definition as validation has settled it (generated keys and all), with what was sent beyond
    that.

    A default that was spelled out stays spelled out; secrets are gone.
    """
    settled: dict[str, Any] = msgspec.to_builtins(definition)
    document = {**sent, **settled}
    for name in ("triggers", "actions"):
        document[name] = [
            {**before, **after} for before, after in zip(sent.get(name) or [], settled.get(name) or [], strict=True)
        ]
    document["triggers"] = [without_secret(trigger) for trigger in document["triggers"]]
    if sent.get("concurrency") is not None:
        document["concurrency"] = {**sent["concurrency"], **settled["concurrency"]}
    return document


def secret_field(config: Mapping[str, Any]) -> str | None:
    """Which field of `config.auth` holds the secret; `None` when this way of authentication has none."""
    auth: object = config.get("auth")
    return webhook_auth.secret_field(auth) if is_object(auth) else None


def without_secret(trigger: Mapping[str, Any]) -> dict[str, Any]:
    """The trigger without its secret value."""
    return _with_secret(trigger, None)


def definition_of(stored: StoredWorkflow) -> dict[str, Any]:
    """The stored definition, with `enabled` as it is now."""
    document: dict[str, Any] = msgspec.json.decode(stored.definition)
    return {**document, "enabled": stored.enabled}


def workflow_document(
    stored: StoredWorkflow, triggers: Sequence[StoredTrigger], base_url: str, new_secrets: Mapping[str, str]
) -> dict[str, Any]:
    """The workflow as clients see it; secrets are masked, but for those made just now."""
    document = {**_ABSENT, **definition_of(stored)}
    rows = {row.key: row for row in triggers}
    document["triggers"] = [
        trigger_document(trigger, rows[trigger["key"]], base_url, new_secrets.get(trigger["key"]))
        for trigger in document["triggers"]
        if trigger["key"] in rows
    ]
    return {
        "id": stored.id,
        **document,
        "version": stored.version,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }


def trigger_document(
    trigger: Mapping[str, Any], row: StoredTrigger, base_url: str, new_secret: str | None
) -> dict[str, Any]:
    """The trigger as clients see it."""
    document = {"id": row.id, **_with_secret(trigger, MASK if row.sealed_secrets is not None else None)}
    if row.type == "webhook":
        document["url"] = webhook_url(row, base_url)
        document["token"] = row.token
        document["secret"] = new_secret or (MASK if row.sealed_secrets is not None else None)
    if row.type == "schedule":
        document["next_run_at"] = row.next_run_at
    return document


def webhook_url(row: StoredTrigger, base_url: str) -> str:
    """The address that a webhook trigger is called at. Token included, unless it has a slug and asks for another
    credential.
    """
    base = f"{base_url.rstrip('/')}/webhooks"
    if row.slug is None:
        return f"{base}/{row.id}/{row.token}"
    token = "" if msgspec.json.decode(row.config).get("auth") else f"/{row.token}"
    return f"{base}/{row.tenant_slug}/{row.slug}{token}"


def _bare_trigger(trigger: object) -> object:
    if not is_object(trigger):
        return trigger
    bare = {name: value for name, value in trigger.items() if name not in _TRIGGER_READ_ONLY}
    config: object = bare.get("config")
    if is_object(config) and is_object(config.get("auth")):
        auth = {name: value for name, value in config["auth"].items() if value != MASK}
        bare["config"] = {**config, "auth": auth}
    return bare


def _with_secret(trigger: Mapping[str, Any], secret: str | None) -> dict[str, Any]:
    config: dict[str, Any] = trigger.get("config") or {}
    field = secret_field(config)
    if field is None:
        return dict(trigger)
    auth = {name: value for name, value in config["auth"].items() if name != field}
    if secret is not None:
        auth[field] = secret
    return {**trigger, "config": {**config, "auth": auth}}
