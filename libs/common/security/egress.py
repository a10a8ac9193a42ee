"""The guard on every outgoing connection: actions reach the public internet, and nothing inside unless the operator
says so.

The check is made on the address of every real connect, so it holds for literals in any spelling, for names that
resolve to an inside address, for names that change their answer (DNS rebinding) and for every hop of a redirect. What
is denied follows the IANA special-purpose address registries (RFC 6890 and later), plus the tunnels that lead inside:
an IPv6 address that carries an IPv4 address (mapped, 6to4, Teredo, NAT64) is judged by what it carries.
"""

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from libs.common.errors import SignalboxError

if TYPE_CHECKING:
    import aiohttp

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_DENIED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
        "::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "2620:4f:8000::/48",
        "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip

_SENSITIVE: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "::/96", "::1/128",
        "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fe80::/10",
        "fd00:ec2::/32", "fd20:ce::/32",
    )
)  # fmt: skip
"""This machine (0.0.0.0 and :: are other names of loopback) and the metadata of clouds: only an allowed network that
lies within one of these opens it, a wide one does not.
"""

_NAT64 = ip_network("64:ff9b::/96")
_POOL_LIMIT = 200
_POOL_LIMIT_PER_HOST = 100
_DNS_CACHE_SECONDS = 30


_CLOSED_IS_GONE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time at all: what is not delivered when the socket is closed is thrown away (socket(7)). The kernel
would go on to deliver it for minutes, to an endpoint that comes back when whoever wrote it has long given up.
"""


class BlockedDestination(SignalboxError):
    """An action wanted to connect to an address that is not allowed. Never says which address a name resolved to."""

    slug = "blocked-destination"


class BlockedConnection(OSError):
    """The same, in the form that connectors understand: they go on with the next address of the name."""


class EgressPolicy:
    """Which addresses may be connected to."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        """`allowed`: networks of the operator that are open although they are private."""
        self._allowed = tuple(allowed)

    def check_address(self, address: Address) -> None:
        """Raises `BlockedDestination` when the address must not be connected to."""
        carried = _carried(address)
        judged = carried if _is_mapped(address) else (address, *carried)
        if not all(self._is_open(candidate) for candidate in judged):
            raise BlockedDestination("The destination is not allowed.")

    def _is_open(self, address: Address) -> bool:
        if not _within(address, _DENIED):
            return True
        sensitive = [network for network in _SENSITIVE if address in network]
        return any(
            address in network and all(_lies_within(network, outer) for outer in sensitive) for network in self._allowed
        )


def guarded_session(policy: EgressPolicy) -> "aiohttp.ClientSession":
    """A client session whose every connect passes `policy`; without cookies, proxies or anything from the
    environment.
    """
    import aiohttp  # noqa: PLC0415 - only who sends pays for its memory

    from libs.common.security.last_moment import AskingRequest  # noqa: PLC0415 - the same

    def guarded_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, target = info
        try:
            policy.check_address(ip_address(str(target[0]).partition("%")[0]))
        except BlockedDestination as error:
            raise BlockedConnection(error.detail) from None
        return outgoing_socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        socket_factory=guarded_socket,
        limit=_POOL_LIMIT,
        limit_per_host=_POOL_LIMIT_PER_HOST,
        ttl_dns_cache=_DNS_CACHE_SECONDS,
    )
    return aiohttp.ClientSession(
        connector=connector, request_class=AskingRequest, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    )  # fmt: skip


def outgoing_socket(family: int, kind: int, protocol: int) -> socket.socket:
    """A socket for what has effects: nothing is delivered any more once it is closed."""
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSED_IS_GONE)
    return made


def _carried(address: Address) -> tuple[Address, ...]:
    """The IPv4 addresses inside an IPv6 address, if it is of a kind that carries one."""
    if isinstance(address, IPv4Address):
        return ()
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    return (IPv4Address(address.packed[-4:]),) if address in _NAT64 else ()


def _is_mapped(address: Address) -> bool:
    """Whether it is an IPv4 address in IPv6 spelling (`::ffff:1.2.3.4`): then only the IPv4 address counts."""
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _lies_within(network: Network, outer: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(outer, IPv4Network) and network.subnet_of(outer)
    return isinstance(outer, IPv6Network) and network.subnet_of(outer)
