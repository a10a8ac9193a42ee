"""Who may do what: from the headers of a request to a tenant and a role.

The order of the checks is part of the contract: no or bad credential 401, no `X-Tenant-ID` 400, a tenant that the
credential is not for 403 (also one that does not exist: nobody learns which do), a suspended tenant 403, a role too
weak 403. Another tenant's resource is not decided here: queries are scoped, so it is simply not found.
"""

from datetime import datetime, timedelta
from typing import cast

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler

from libs.common.clock import Clock
from libs.common.db.api_keys import Credential, find_credential
from libs.common.db.pool import Database, TenantDatabase
from libs.common.domain.tenant import role_allows
from libs.common.errors import Fault, Forbidden, InvalidInput, TenantRequired, Unauthenticated
from libs.common.security.credentials import constant_time_equal, hash_key
from services.gateway.bodies import AnyRequest
from services.gateway.parts import Caller, GatewayParts

_REMEMBERED_KEYS = 10_000
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_ACTOR_CHARACTERS = 200

AnyConnection = ASGIConnection[BaseRouteHandler, object, object, State]


class Authenticator:
    """Looks credentials up, and remembers each for `cache_seconds`: so long may a revoked key still work."""

    def __init__(self, database: Database, clock: Clock, cache_seconds: float) -> None:
        self._database, self._clock = database, clock
        self._keep = timedelta(seconds=cache_seconds)
        self._known: dict[bytes, tuple[Credential, datetime]] = {}

    async def identify(self, authorization: str | None, tenant: str | None, actor: str | None) -> Caller:
        """The caller behind the headers. Raises `Unauthenticated`, `TenantRequired` or `Forbidden`."""
        credential = await self._credential(bearer_token(authorization))
        if tenant is None or not tenant.strip():
            raise TenantRequired("The header X-Tenant-ID is needed: the id or the slug of the tenant.")
        if tenant.strip().lower() not in (str(credential.tenant_id), credential.tenant_slug):
            raise Forbidden("This credential is not for that tenant.")
        if credential.tenant_status != "active":
            raise Forbidden("This tenant is suspended.")
        return Caller(credential.tenant_id, credential.role, credential.key_id, _checked_actor(actor))

    async def _credential(self, token: str) -> Credential:
        now = self._clock.now()
        hashed = hash_key(token)
        remembered = self._known.get(hashed)
        if remembered is None or remembered[1] <= now:
            remembered = (await self._look_up(hashed), now + self._keep)
            self._remember(hashed, remembered)
        credential = remembered[0]
        if credential.expires_at is not None and credential.expires_at <= now:
            raise Unauthenticated("This credential has expired.")
        return credential

    async def _look_up(self, hashed: bytes) -> Credential:
        async with self._database.connection() as connection:
            credential = await find_credential(connection, hashed)
        if credential is None:
            self._known.pop(hashed, None)
            raise Unauthenticated("This credential is unknown or was revoked.")
        return credential

    def _remember(self, hashed: bytes, entry: tuple[Credential, datetime]) -> None:
        if len(self._known) >= _REMEMBERED_KEYS:
            self._known.clear()
        self._known[hashed] = entry


def bearer_token(authorization: str | None) -> str:
    """The token of an `Authorization: Bearer …` header. Raises `Unauthenticated`."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("The header Authorization: Bearer … is needed.")
    return token.strip()


async def require_reader(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: any role, whatever the method: for a POST that changes nothing."""
    await _identify(connection)


async def require_member(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: any role reads, editors and owners write."""
    caller = await _identify(connection)
    _require(caller, "viewer" if connection.scope["method"] in _READING else "editor")  # pyright: ignore[reportTypedDictNotRequiredAccess, reportGeneralTypeIssues]


async def require_owner(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: owners only."""
    _require(await _identify(connection), "owner")


def require_platform(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: the platform's own key, compared in constant time."""
    parts = cast("GatewayParts", connection.app.state["parts"])
    expected = parts.settings.platform_key.reveal()
    token = bearer_token(connection.headers.get("authorization"))
    if not expected or not constant_time_equal(token, expected):
        raise Unauthenticated("This is not the platform's key.")


async def recheck(request: AnyRequest) -> None:
    """Raises `Unauthenticated` or `Forbidden` when the request would not be let in any more."""
    await _identify(cast("AnyConnection", request))


def caller_of(request: AnyRequest) -> Caller:
    """The caller whom a guard has identified."""
    return cast("Caller", request.scope["state"]["caller"])


def parts_of(request: AnyRequest) -> GatewayParts:
    """What the gateway is made of."""
    return cast("GatewayParts", request.app.state["parts"])


def tenant_of(request: AnyRequest) -> TenantDatabase:
    """The database with the rows of the caller's tenant alone: what a handler is to read and write."""
    return parts_of(request).database.for_tenant(caller_of(request).tenant_id)


async def _identify(connection: AnyConnection) -> Caller:
    headers = connection.headers
    authenticator = cast("Authenticator", connection.app.state["authenticator"])
    caller = await authenticator.identify(
        headers.get("authorization"), headers.get("x-tenant-id"), headers.get("x-user-id")
    )
    connection.scope["state"]["caller"] = caller
    return caller


def _require(caller: Caller, role: str) -> None:
    if not role_allows(caller.role, role):
        raise Forbidden(f"This needs the role {role}; the credential has {caller.role}.")


def _checked_actor(actor: str | None) -> str | None:
    if actor is None or not actor.strip():
        return None
    if len(actor) > _ACTOR_CHARACTERS or not actor.isprintable():
        raise InvalidInput(
            [Fault("headers.X-User-ID", f"must be printable and at most {_ACTOR_CHARACTERS} characters")]
        )
    return actor.strip()
