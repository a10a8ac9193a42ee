"""Secrets: named values that templates use. A value comes in and is sealed; it never comes back, not even to who sent
it.
"""

from typing import Annotated, Any

import msgspec
from litestar import Response, Router, delete, get, put
from litestar.openapi import ResponseSpec
from litestar.params import FromPath

from libs.common.data_keys import data_key_of
from libs.common.db import secrets as table
from libs.common.db.secrets import StoredSecret
from libs.common.domain.faults import struct_faults
from libs.common.domain.templates import SECRET_NAME
from libs.common.errors import Fault, InvalidInput, NotFound
from services.gateway.auditing import note
from services.gateway.auth import caller_of, parts_of, require_member, tenant_of
from services.gateway.bodies import AnyRequest, read_object
from services.gateway.documents import TENANT_SECURITY, problems, takes
from services.gateway.paging import DEFAULT_LIMIT, Cursor, Limit, Offset, Page, page, window

MAX_VALUE_BYTES = 65_536


class SecretValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value of a secret: a text of at most 64 KiB in UTF-8."""

    value: Annotated[str, msgspec.Meta(min_length=1)]


BODIES = (SecretValue,)


def read_value(name: str, raw: dict[str, Any]) -> bytes:
    """The value that a body gives to the secret `name`. Raises `InvalidInput` with every fault; none quotes the
    value.
    """
    faults = struct_faults(raw, SecretValue, "")
    if not SECRET_NAME.fullmatch(name):
        faults.append(Fault("name", "must begin with a letter or _ and have at most 64 letters, digits and _"))
    value: object = raw.get("value")
    plaintext = value.encode() if isinstance(value, str) else b""
    if len(plaintext) > MAX_VALUE_BYTES:
        faults.append(Fault("value", f"is larger than {MAX_VALUE_BYTES // 1024} KiB"))
    if faults:
        raise InvalidInput(faults)
    return plaintext


_MADE = ResponseSpec(StoredSecret, generate_examples=False, description="A new secret")


@put(
    "/secrets/{name:str}", operation_class=takes(SecretValue),
    responses={**problems(400, 403, 413, 415, 422), 201: _MADE}, summary="Set a secret",
)  # fmt: skip
async def put_secret(request: AnyRequest, name: FromPath[str]) -> Response[StoredSecret]:
    """201 for a new secret, 200 for a new value. Runs see the value within `SIGNALBOX_CACHE_SECONDS`."""
    parts, tenant_id = parts_of(request), caller_of(request).tenant_id
    plaintext = read_value(name, await read_object(request))
    async with tenant_of(request).transaction() as connection:
        data_key = await data_key_of(connection, tenant_id, parts.vault)
        sealed = parts.vault.seal(tenant_id, name, plaintext, data_key)
        stored = await table.put_secret(connection, tenant_id, name, sealed=sealed, key_id="")
        await note(connection, "secret.set", name, None, {"version": stored.version})
    if stored.version > 1:
        return Response(stored, status_code=200)
    return Response(stored, status_code=201, headers={"Location": f"/api/v1/secrets/{name}"})


@get("/secrets", responses=problems(400, 403, 422), summary="List secrets")
async def list_secrets(
    request: AnyRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, offset: Offset = 0
) -> Page[StoredSecret]:
    """Names and times, by name."""
    wanted = window(limit, cursor, offset)
    async with tenant_of(request).transaction() as connection:
        rows = await table.list_secrets(
            connection,
            caller_of(request).tenant_id,
            after=wanted.after_name,
            limit=wanted.rows,
            offset=wanted.offset,
        )
    return page(rows, wanted, lambda row: row, lambda row: row.name)


@get("/secrets/{name:str}", responses=problems(400, 403, 404), summary="Look at a secret")
async def show_secret(request: AnyRequest, name: FromPath[str]) -> StoredSecret:
    """Its name and times."""
    stored = None
    if SECRET_NAME.fullmatch(name):
        async with tenant_of(request).transaction() as connection:
            stored = await table.find_secret(connection, caller_of(request).tenant_id, name)
    if stored is None:
        raise NotFound("There is no such secret.")
    return stored


@delete("/secrets/{name:str}", responses=problems(400, 403, 404), summary="Delete a secret")
async def delete_secret(request: AnyRequest, name: FromPath[str]) -> None:
    """Runs that use it fail from then on, and name it."""
    deleted = False
    if SECRET_NAME.fullmatch(name):
        async with tenant_of(request).transaction() as connection:
            deleted = await table.delete_secret(connection, caller_of(request).tenant_id, name)
            if deleted:
                await note(connection, "secret.deleted", name)
    if not deleted:
        raise NotFound("There is no such secret.")


ROUTER = Router(
    "/api/v1",
    route_handlers=[put_secret, list_secrets, show_secret, delete_secret],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Secrets"],
)
