"""Who may do what: from the headers of a request to a tenant and a role.

The order of the checks is part of the contract: no or bad credential 401, no `X-Tenant-ID` 400, a tenant that the
credential is not for 403 (also one that does not exist: nobody learns which do), a suspended tenant 403, a tenant that
calls too often 429, a role too weak 403. Another tenant's resource is not decided here: queries are scoped, so it is
simply not found.
"""

from typing import cast

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler

from libs.common.db.pool import TenantDatabase
from libs.common.domain.tenant import role_allows, scopes_allow
from libs.common.errors import (
    Fault,
    Forbidden,
    InvalidInput,
    TenantErased,
    TenantRequired,
    TenantSuspended,
    Unauthenticated,
)
from libs.common.security.credentials import API_KEY_PREFIX, constant_time_equal
from services.gateway.areas import area_of
from services.gateway.bodies import AnyRequest
from services.gateway.identity import Identity, Presented
from services.gateway.key_identity import KeyIdentities
from services.gateway.parts import Caller, GatewayParts
from services.gateway.proxy_identity import PROXY_HEADERS, ProxyIdentities
from services.gateway.token_identity import TokenIdentities

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_ACTOR_CHARACTERS = 200

AnyConnection = ASGIConnection[BaseRouteHandler, object, object, State]


class Authenticator:
    """Decides who asks, and for which tenant."""

    def __init__(self, keys: KeyIdentities, tokens: TokenIdentities | None, proxies: ProxyIdentities | None) -> None:
        """`tokens`, `proxies`: None when the installation takes none."""
        self._keys, self._tokens, self._proxies = keys, tokens, proxies

    async def identify(self, presented: Presented) -> Caller:
        """The caller behind what was presented. Raises `Unauthenticated`, `TenantRequired` or `Forbidden`."""
        identity = await self._identity(presented)
        if presented.tenant is None or not presented.tenant.strip():
            raise TenantRequired("The header X-Tenant-ID is needed: the id or the slug of the tenant.")
        if not identity.is_for(presented.tenant):
            raise Forbidden("This credential is not for that tenant.")
        _check_status(identity)
        actor = identity.user or _checked_actor(presented.actor)
        shown = str(identity.key_id) if identity.key_id is not None else identity.means
        return Caller(identity.tenant_id, identity.role, identity.key_id, actor, identity.scopes, shown)

    async def close(self) -> None:
        """Nothing is looked up in the background any more."""
        if self._tokens is not None:
            await self._tokens.close()

    async def _identity(self, presented: Presented) -> Identity:
        """By the word of a trusted proxy when there is no credential, else by the credential."""
        if presented.authorization is None and self._proxies is not None and self._proxies.vouch_for(presented):
            return await self._proxies.identify(presented)
        token = bearer_token(presented.authorization)
        if self._tokens is not None and not token.startswith(API_KEY_PREFIX):
            return await self._tokens.identify(token, presented.tenant)
        return await self._keys.identify(token)


def presented_by(connection: AnyConnection) -> Presented:
    """What a request shows of who asks."""
    headers = connection.headers
    return Presented(
        headers.get("authorization"), headers.get("x-tenant-id"), headers.get("x-user-id"),
        connection.client.host if connection.client is not None else "",
        *[headers.get(name) for name in PROXY_HEADERS],
    )  # fmt: skip


def bearer_token(authorization: str | None) -> str:
    """The token of an `Authorization: Bearer …` header. Raises `Unauthenticated`."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("The header Authorization: Bearer … is needed.")
    return token.strip()


async def require_reader(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: any role, whatever the method: for a POST that changes nothing."""
    await _admit(connection, writes=False)


async def require_member(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: any role reads, editors and owners write."""
    writes = _writes(connection)
    _require(await _admit(connection, writes=writes), "editor" if writes else "viewer")


async def require_owner(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: owners only."""
    _require(await _admit(connection, writes=_writes(connection)), "owner")


def require_platform(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: one of the platform's own keys. All are compared, in constant time."""
    parts = cast("GatewayParts", connection.app.state["parts"])
    token = bearer_token(connection.headers.get("authorization"))
    keys = [key for part in parts.settings.platform_key.reveal().split(",") if (key := part.strip())]
    if not any([constant_time_equal(token, key) for key in keys]):
        raise Unauthenticated("This is not the platform's key.")


async def recheck(request: AnyRequest) -> None:
    """Raises `Unauthenticated` or `Forbidden` when the request would not be let in any more."""
    await _identify(cast("AnyConnection", request))


def check_scope(caller: Caller, connection: AnyConnection, *, writes: bool) -> None:
    """Raises `Forbidden` when the caller's scopes do not let it in there."""
    area = area_of(connection.scope["path_template"])
    if not scopes_allow(caller.scopes, area, writes=writes):
        needed = "a credential without scopes" if area is None else f"the scope {area}:{'write' if writes else 'read'}"
        raise Forbidden(f"This needs {needed}.")


def caller_of(request: AnyRequest) -> Caller:
    """The caller whom a guard has identified."""
    return cast("Caller", request.scope["state"]["caller"])


def parts_of(request: AnyRequest) -> GatewayParts:
    """What the gateway is made of."""
    return cast("GatewayParts", request.app.state["parts"])


def tenant_of(request: AnyRequest) -> TenantDatabase:
    """The database with the rows of the caller's tenant alone: what a handler is to read and write."""
    return parts_of(request).database.for_tenant(caller_of(request).tenant_id)


def actor_of(request: AnyRequest) -> str | None:
    """Who `X-User-ID` says it is, for the platform's own calls. Raises `InvalidInput`."""
    return _checked_actor(request.headers.get("x-user-id"))


async def _admit(connection: AnyConnection, *, writes: bool) -> Caller:
    caller = await _identify(connection)
    check_scope(caller, connection, writes=writes)
    await cast("GatewayParts", connection.app.state["parts"]).limits.admit_call(caller.tenant_id)
    return caller


async def _identify(connection: AnyConnection) -> Caller:
    authenticator = cast("Authenticator", connection.app.state["authenticator"])
    caller = await authenticator.identify(presented_by(connection))
    connection.scope["state"]["caller"] = caller
    return caller


def _writes(connection: AnyConnection) -> bool:
    return connection.scope["method"] not in _READING  # pyright: ignore[reportTypedDictNotRequiredAccess, reportGeneralTypeIssues]


def _check_status(identity: Identity) -> None:
    if identity.tenant_status == "erasing":
        raise TenantErased("This tenant is being erased.")
    if identity.tenant_status != "active":
        raise TenantSuspended("This tenant is suspended.")


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
