"""Publishing a workflow: validate → new version → sync triggers → seal secrets, all in one transaction.

The stored definition never holds a secret value. A secret that a trigger needs and nobody gave is generated; one that
was there before stays while it is left out or sent back as `***`. New ones are handed to the caller once and are
readable nowhere afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from libs.common.actions.installed import checkers
from libs.common.clock import new_id, random_token
from libs.common.data_keys import data_key_of
from libs.common.db import triggers as trigger_table
from libs.common.db import webhook_secrets as secret_table
from libs.common.db import workflows as workflow_table
from libs.common.db.pool import Connection
from libs.common.db.schedules import database_now
from libs.common.db.triggers import StoredTrigger
from libs.common.db.webhook_secrets import NewWebhookSecret
from libs.common.db.workflows import StoredWorkflow
from libs.common.domain.faults import is_object
from libs.common.domain.schedule import next_run
from libs.common.domain.trigger import TriggerSpec, schedule_config
from libs.common.domain.trigger_validation import slug_faults, webhook_slug
from libs.common.domain.validation import validate_definition
from libs.common.domain.webhook_auth import wants_standard_secret
from libs.common.domain.workflow import Definition
from libs.common.errors import Fault, InvalidInput, NotFound
from libs.common.schedule_pass import fire_before_edit
from libs.common.security.credentials import new_standard_secret, new_webhook_secret, new_webhook_token
from libs.common.security.trigger_secrets import TriggerSecret, seal_trigger_secrets, shown_prefix
from services.gateway.auditing import note
from services.gateway.definitions import secret_field, stored_document, without_read_only, without_secret
from services.gateway.parts import Caller, GatewayParts
from services.gateway.preconditions import check_if_match

Change = Callable[[StoredWorkflow], Mapping[str, Any]]
"""From the stored workflow to the new definition."""


class Published(NamedTuple):
    """A workflow as stored, its triggers, and the secrets that were sealed just now, by trigger key."""

    workflow: StoredWorkflow
    triggers: Sequence[StoredTrigger]
    new_secrets: Mapping[str, str]


class _Synced(NamedTuple):
    triggers: list[StoredTrigger]
    new_secrets: dict[str, str]
    described: list[NewWebhookSecret]


def check_definition(raw: object) -> Definition:
    """The definition, if it has no fault. Raises `InvalidInput` with every fault."""
    definition, faults = validate_definition(raw, checkers())
    if definition is None or faults:
        raise InvalidInput(faults, "The workflow has faults.")
    if "\0" in definition.name:
        raise InvalidInput([Fault("name", "must not hold the character U+0000")])
    return definition


async def create_workflow(parts: GatewayParts, caller: Caller, raw: Mapping[str, Any]) -> Published:
    """Store version 1. Raises `InvalidInput`, `QuotaExceeded`, or `Conflict` when the name is taken."""
    document, workflow_id = without_read_only(raw), new_id()
    async with parts.database.for_tenant(caller.tenant_id).transaction() as connection:
        definition = await _checked(connection, caller, workflow_id, document)
        async with parts.limits.making(connection, caller.tenant_id, definition):
            await workflow_table.insert_workflow(
                connection, caller.tenant_id, workflow_id, definition.name, enabled=definition.enabled
            )
            made = await store_version(parts, caller, connection, workflow_id, 1, document, definition)
        published = await _published(connection, caller, workflow_id, made)
        await note(connection, "workflow.created", workflow_id, None, published.workflow.definition)
        return published


async def change_workflow(
    parts: GatewayParts, caller: Caller, workflow_id: UUID, if_match: str | None, change: Change
) -> Published:
    """Store the next version. Raises `NotFound`, `StaleVersion`, `InvalidInput` or `Conflict`."""
    async with parts.database.for_tenant(caller.tenant_id).transaction() as connection:
        stored = await locked(connection, caller, workflow_id, if_match)
        document = without_read_only(change(stored))
        definition = await _checked(connection, caller, workflow_id, document)
        fired = await fire_before_edit(connection, parts.acceptor, caller.tenant_id, workflow_id)
        version = stored.version + 1
        await workflow_table.advance_workflow(
            connection, caller.tenant_id, workflow_id, definition.name, enabled=definition.enabled, version=version
        )
        async with parts.limits.making(connection, caller.tenant_id, definition):
            made = await store_version(parts, caller, connection, workflow_id, version, document, definition)
        published = await _published(connection, caller, workflow_id, made)
        await note(connection, "workflow.changed", workflow_id, stored.definition, published.workflow.definition)
    fired.tell(parts.acceptor)
    return published


async def switch_workflow(
    parts: GatewayParts, caller: Caller, workflow_id: UUID, if_match: str | None, *, enabled: bool
) -> Published:
    """Enable or disable; the version stays, schedules start from now or stop. Raises `NotFound` or `StaleVersion`."""
    tenant_id = caller.tenant_id
    async with parts.database.for_tenant(caller.tenant_id).transaction() as connection:
        stored = await locked(connection, caller, workflow_id, if_match)
        fired = await fire_before_edit(connection, parts.acceptor, tenant_id, workflow_id)
        await note(connection, "workflow.switched", workflow_id, {"enabled": stored.enabled}, {"enabled": enabled})
        await workflow_table.set_workflow_enabled(connection, tenant_id, workflow_id, enabled=enabled)
        triggers = await trigger_table.list_triggers(connection, tenant_id, [workflow_id])
        now = await database_now(connection)
        next_runs = [
            (
                row.id,
                row.next_run_at if enabled and row.next_run_at else _next_run(_spec_of(row), enabled=enabled, now=now),
            )
            for row in triggers
        ]
        await trigger_table.set_next_runs(connection, tenant_id, next_runs)
        published = await _published(connection, caller, workflow_id, {})
    fired.tell(parts.acceptor)
    return published


async def remove_workflow(parts: GatewayParts, caller: Caller, workflow_id: UUID, if_match: str | None) -> None:
    """Delete softly; its triggers are gone. Raises `NotFound` or `StaleVersion`."""
    async with parts.database.for_tenant(caller.tenant_id).transaction() as connection:
        stored = await locked(connection, caller, workflow_id, if_match)
        await note(connection, "workflow.deleted", workflow_id, {"name": stored.name, "version": stored.version})
        await trigger_table.sync_triggers(connection, caller.tenant_id, workflow_id, [])
        await workflow_table.delete_workflow(connection, caller.tenant_id, workflow_id)


async def locked(connection: Connection, caller: Caller, workflow_id: UUID, if_match: str | None) -> StoredWorkflow:
    """The workflow, kept from others until the transaction ends. Raises `NotFound` or `StaleVersion`."""
    stored = await workflow_table.lock_workflow(connection, caller.tenant_id, workflow_id)
    if stored is None:
        raise NotFound("There is no such workflow.")
    check_if_match(if_match, stored.version, "workflow")
    return stored


async def _checked(
    connection: Connection, caller: Caller, workflow_id: UUID, document: Mapping[str, Any]
) -> Definition:
    """As `check_definition`; what it refers to is there, too."""
    definition, faults = None, list[Fault]()
    try:
        definition = check_definition(document)
    except InvalidInput as error:
        faults += error.faults
    reference: object = document.get("on_failure")
    # What cannot be stored is a fault already, and could not be asked for either.
    if isinstance(reference, str) and (definition is not None or reference.isprintable()):
        found = await workflow_table.resolve_workflow(connection, caller.tenant_id, reference)
        if found is None and reference != document.get("name"):
            faults.append(Fault("on_failure", f"there is no workflow {reference[:200]!r}"))
        elif found == workflow_id:
            faults.append(Fault("on_failure", "must name another workflow than this one"))
    if definition is not None:
        faults += await _slug_faults(connection, caller, workflow_id, document)
    if definition is None or faults:
        raise InvalidInput(list(dict.fromkeys(faults)), "The workflow has faults.")
    return definition


async def _slug_faults(
    connection: Connection, caller: Caller, workflow_id: UUID, document: Mapping[str, Any]
) -> list[Fault]:
    """Slugs of webhooks that other workflows of the tenant have."""
    triggers: list[Any] = document.get("triggers") or []
    slugs = [slug for slug in map(webhook_slug, triggers) if slug is not None]
    if not slugs:
        return []
    taken = await trigger_table.taken_slugs(connection, caller.tenant_id, workflow_id, slugs)
    return slug_faults(triggers, taken)


async def store_version(
    parts: GatewayParts,
    caller: Caller,
    connection: Connection,
    workflow_id: UUID,
    version: int,
    document: dict[str, Any],
    definition: Definition,
    task: str | None = None,
) -> Mapping[str, str]:
    """The version is there, the triggers are as it says; returns the secrets made for them, by trigger key. For whoever
    holds the row of the workflow. `task`: JSON text of the scheduled task behind the definition.
    """
    present = await trigger_table.list_triggers(connection, caller.tenant_id, [workflow_id])
    has_secrets = any(secret_field(spec.config) is not None for spec in definition.triggers)
    data_key = await data_key_of(connection, caller.tenant_id, parts.vault) if has_secrets else None
    now = await database_now(connection)
    synced = _sync(parts, caller.tenant_id, workflow_id, definition, {row.key: row for row in present}, now, data_key)
    text = _text(stored_document(document, definition))
    await workflow_table.insert_version(connection, caller.tenant_id, workflow_id, version, text, caller.actor, task)
    await trigger_table.sync_triggers(connection, caller.tenant_id, workflow_id, synced.triggers)
    await _describe_secrets(connection, caller.tenant_id, synced, present)
    return synced.new_secrets


async def _describe_secrets(
    connection: Connection, tenant_id: UUID, synced: _Synced, present: Sequence[StoredTrigger]
) -> None:
    """What is shown of secrets follows those that are new or gone."""
    had = {row.id for row in present if row.sealed_secrets is not None}
    gone = [row.id for row in synced.triggers if row.sealed_secrets is None and row.id in had]
    changed = [*gone, *(one.trigger_id for one in synced.described)]
    if changed:
        await secret_table.set_webhook_secrets(connection, tenant_id, changed, synced.described)


async def _published(
    connection: Connection, caller: Caller, workflow_id: UUID, new_secrets: Mapping[str, str]
) -> Published:
    stored = await workflow_table.find_workflow(connection, caller.tenant_id, workflow_id)
    if stored is None:
        raise NotFound("There is no such workflow.")
    triggers = await trigger_table.list_triggers(connection, caller.tenant_id, [workflow_id])
    return Published(stored, triggers, new_secrets)


def _sync(
    parts: GatewayParts,
    tenant_id: UUID,
    workflow_id: UUID,
    definition: Definition,
    present: Mapping[str, StoredTrigger],
    now: datetime,
    data_key: bytes | None,
) -> _Synced:
    synced = _Synced([], {}, [])
    for spec in definition.triggers:
        old = present.get(spec.key)
        old = old if old is not None and old.type == spec.type else None
        trigger_id = present[spec.key].id if spec.key in present else new_id()
        sealed = old.sealed_secrets if old is not None else None
        secret = _new_secret(spec, old)
        if secret is not None:
            made = TriggerSecret(new_id(), secret)
            sealed = seal_trigger_secrets(parts.vault, tenant_id, trigger_id, made, data_key=data_key)
            synced.new_secrets[spec.key] = secret
            synced.described.append(NewWebhookSecret(trigger_id, made.id, shown_prefix(secret)))
        synced.triggers.append(
            StoredTrigger(
                id=trigger_id,
                workflow_id=workflow_id,
                key=spec.key,
                type=spec.type,
                config=_text(without_secret({"config": spec.config})["config"]),
                conditions=None if spec.conditions is None else _text(spec.conditions),
                enabled=spec.enabled,
                token=((old.token if old is not None else None) or new_webhook_token(random_token()))
                if spec.type == "webhook"
                else None,
                sealed_secrets=sealed if secret_field(spec.config) is not None else None,
                next_run_at=_next_run(spec, enabled=definition.enabled, now=now),
                slug=webhook_slug({"type": spec.type, "config": spec.config}),
            )
        )
    return synced


def _new_secret(spec: TriggerSpec, old: StoredTrigger | None) -> str | None:
    """The secret to seal, given or generated. `None`: there is none, or the old one stays."""
    field = secret_field(spec.config) if spec.type == "webhook" else None
    if field is None:
        return None
    given: str | None = spec.config["auth"].get(field)
    if given is not None:
        return given
    auth = spec.config["auth"]
    if old is not None and old.sealed_secrets is not None and _secret_kind(_auth_of(old)) == _secret_kind(auth):
        return None
    return generated_secret(auth)


def generated_secret(auth: Mapping[str, Any]) -> str:
    """A new secret of the form that this `auth` takes."""
    return (new_standard_secret if wants_standard_secret(auth) else new_webhook_secret)(random_token())


def _secret_kind(auth: Mapping[str, Any]) -> tuple[object, bool]:
    """A secret stays as long as it is of the same type and form."""
    return auth.get("type"), wants_standard_secret(auth)


def _auth_of(row: StoredTrigger) -> Mapping[str, Any]:
    auth: object = msgspec.json.decode(row.config).get("auth")
    return auth if is_object(auth) else {}


def _next_run(spec: TriggerSpec, *, enabled: bool, now: datetime) -> datetime | None:
    if spec.type != "schedule" or not enabled or not spec.enabled:
        return None
    try:
        return next_run(schedule_config(spec), now)
    except ValueError as error:  # from here on, exclusions leave out more than is looked at
        raise InvalidInput([Fault("triggers", f"the exclude of the schedule {spec.key!r} {error}")]) from None


def _spec_of(row: StoredTrigger) -> TriggerSpec:
    return msgspec.convert(
        {"key": row.key, "type": row.type, "config": msgspec.json.decode(row.config), "enabled": row.enabled},
        TriggerSpec,
    )


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
