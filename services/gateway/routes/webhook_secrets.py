"""The secrets of a webhook trigger: which there are, and a new one beside the one that senders still use.

    rotate ─▶ new secret shown once ─▶ both valid until the end of grace ─▶ only the new one

A value is shown by the answer to a rotation and by nothing else.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath

from libs.common.clock import new_id
from libs.common.data_keys import data_key_of
from libs.common.db import webhook_secrets as table
from libs.common.db.pool import Connection
from libs.common.db.triggers import StoredTrigger, find_trigger
from libs.common.db.webhook_secrets import NewWebhookSecret, StoredWebhookSecret
from libs.common.domain.webhook_auth import Secret
from libs.common.domain.webhook_auth_validation import secret_faults
from libs.common.errors import Conflict, InvalidInput, NotFound
from libs.common.security.trigger_secrets import (
    TriggerSecret,
    open_trigger_secrets,
    seal_trigger_secrets,
    shown_prefix,
)
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_struct
from services.gateway.definitions import secret_field
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.parts import Caller, GatewayParts
from services.gateway.publishing import generated_secret, locked

DEFAULT_GRACE_SECONDS = 86_400
MAX_GRACE_SECONDS = 2_592_000


class RotateSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the present secret stays valid, and the new one when the sender makes it (left out, it is
    generated).
    """

    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_GRACE_SECONDS)] = DEFAULT_GRACE_SECONDS
    secret: Secret | None = None


class RotatedSecret(msgspec.Struct, frozen=True):
    """The new secret, shown this once. `previous_valid_until`: null when the one before ended at once."""

    secret: str
    previous_valid_until: datetime | None


class WebhookSecrets(msgspec.Struct, frozen=True):
    """The secrets that are valid, the newest first; the list is short and has one page."""

    items: list[StoredWebhookSecret]
    next_cursor: None = None


class _Held(NamedTuple):
    """A trigger with a secret, kept from others, and its auth."""

    row: StoredTrigger
    auth: dict[str, Any]
    sealed: bytes


BODIES = (RotateSecret,)


@post(
    "/triggers/{trigger_id:uuid}/rotate-secret", operation_class=takes(RotateSecret), status_code=200,
    responses=problems(400, 403, 404, 409, 415, 422), summary="Rotate the secret of a webhook",
)  # fmt: skip
async def rotate(request: AnyRequest, trigger_id: FromPath[UUID]) -> RotatedSecret:
    """A new secret; the present one stays valid for `grace_seconds`, one before that ends now. Takes effect within
    `SIGNALBOX_CACHE_SECONDS`; makes no new version.
    """
    parts, caller = parts_of(request), caller_of(request)
    body = await read_struct(request, RotateSecret)
    async with tenant_of(request).transaction() as connection:
        held = await _held(connection, caller, trigger_id)
        await note(connection, "webhook_secret.rotated", trigger_id, None, {"grace_seconds": body.grace_seconds})
        return await _rotate(connection, parts, caller, held, body)


@get(
    "/triggers/{trigger_id:uuid}/secrets",
    responses=problems(400, 403, 404, 409),
    summary="List a webhook's secrets",
)
async def list_secrets(request: AnyRequest, trigger_id: FromPath[UUID]) -> WebhookSecrets:
    """By prefix, with when each was last used: when nobody uses the old one any more, the rotation is done."""
    parts, caller = parts_of(request), caller_of(request)
    async with tenant_of(request).transaction() as connection:
        _check_has_secret(await find_trigger(connection, caller.tenant_id, trigger_id))
        return WebhookSecrets(
            await table.list_webhook_secrets(connection, caller.tenant_id, trigger_id, parts.clock.now())
        )


async def _held(connection: Connection, caller: Caller, trigger_id: UUID) -> _Held:
    """The trigger, kept from others by its workflow, as whoever changes that does. Raises `NotFound` or `Conflict`."""
    found = _check_has_secret(await find_trigger(connection, caller.tenant_id, trigger_id))
    await locked(connection, caller, found.workflow_id, None)
    row = _check_has_secret(await find_trigger(connection, caller.tenant_id, trigger_id))
    assert row.sealed_secrets is not None  # what was just checked
    return _Held(row, msgspec.json.decode(row.config)["auth"], row.sealed_secrets)


def _check_has_secret(row: StoredTrigger | None) -> StoredTrigger:
    if row is None:
        raise NotFound("There is no such trigger.")
    if row.sealed_secrets is None or secret_field(msgspec.json.decode(row.config)) is None:
        raise Conflict("This trigger has no secret; public keys are changed in the definition.")
    return row


async def _rotate(
    connection: Connection, parts: GatewayParts, caller: Caller, held: _Held, body: RotateSecret
) -> RotatedSecret:
    if body.secret is not None and (faults := secret_faults(held.auth, body.secret, "secret")):
        raise InvalidInput(faults)
    tenant_id, trigger_id = caller.tenant_id, held.row.id
    current = TriggerSecret(new_id(), body.secret or generated_secret(held.auth))
    data_key = await data_key_of(connection, tenant_id, parts.vault)
    present, *_ = open_trigger_secrets(parts.vault, tenant_id, trigger_id, held.sealed, data_key)
    until = parts.clock.now() + timedelta(seconds=body.grace_seconds)
    previous = msgspec.structs.replace(present, valid_until=until) if body.grace_seconds else None
    sealed = seal_trigger_secrets(parts.vault, tenant_id, trigger_id, current, previous, data_key=data_key)
    described = NewWebhookSecret(trigger_id, current.id, shown_prefix(current.value))
    await table.seal_webhook_secrets(connection, tenant_id, trigger_id, sealed)
    await table.rotate_webhook_secret(connection, tenant_id, described, until)
    return RotatedSecret(current.value, until if previous is not None else None)


ROUTER = Router(
    "/api/v1", route_handlers=[rotate, list_secrets], guards=[require_member], security=TENANT_SECURITY,
    tags=["Triggers"],
)  # fmt: skip
