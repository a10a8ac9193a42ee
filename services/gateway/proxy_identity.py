"""Identity by the word of a trusted proxy, which has authenticated the user itself: off unless networks are named.

The headers `X-Signalbox-Tenant`, `X-Signalbox-User` and `X-Signalbox-Role` count only when the connection itself comes
from such a network, and only without `Authorization`. Whoever can connect from there is anybody: the proxy must drop
these headers from what comes in, and nothing else may run in the network.
"""

from ipaddress import ip_address

from libs.common.domain.tenant import strongest_role
from libs.common.errors import Forbidden
from libs.common.settings import Networks
from services.gateway.identity import Identity, Presented
from services.gateway.tenant_states import TenantStates

PROXY_HEADERS = ("x-signalbox-tenant", "x-signalbox-user", "x-signalbox-role")
_USER_CHARACTERS = 200


class ProxyIdentities:
    """Believes some proxies."""

    def __init__(self, networks: Networks, states: TenantStates) -> None:
        self._networks, self._states = networks, states

    def vouch_for(self, presented: Presented) -> bool:
        """Whether a trusted proxy says who it is."""
        if presented.proxied_tenant is None:
            return False
        try:
            peer = ip_address(presented.peer.partition("%")[0])
        except ValueError:
            return False
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in self._networks)

    async def identify(self, presented: Presented) -> Identity:
        """Who the proxy says it is. Raises `Forbidden`."""
        state = await self._states.find(presented.proxied_tenant or "")
        if state is None:
            raise Forbidden("This credential is not for that tenant.")
        role = strongest_role([(presented.proxied_role or "").strip().lower()])
        if role is None:
            raise Forbidden("The proxy names no role: X-Signalbox-Role must be owner, editor or viewer.")
        user = (presented.proxied_user or "").strip()
        if not user or len(user) > _USER_CHARACTERS or not user.isprintable():
            raise Forbidden("The proxy names no user: X-Signalbox-User.")
        return Identity(state.id, state.slug, state.status, role, user=user, means="proxy")
