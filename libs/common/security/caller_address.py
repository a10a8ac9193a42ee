"""Where a request comes from: by the address that reached us, or by what our own proxies say of it.

`X-Forwarded-For` is read from its end, and only as far as the hops are proxies that the operator trusts: whatever
stands before them anybody may have written.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from libs.common.settings import Network


def caller_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The caller's address, given who connected and the `X-Forwarded-For` that came with it."""
    if not trusted or not forwarded or not is_within(peer, tuple(trusted)):
        return peer
    address = peer
    for hop in reversed(forwarded.split(",")):
        if (plain := _plain(hop.strip())) is None:
            return address
        address = plain
        if not is_within(address, tuple(trusted)):
            return address
    return address


@lru_cache(maxsize=4096)
def is_within(text: str, networks: tuple[Network, ...]) -> bool:
    """Whether it is an address in one of the networks."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def _plain(hop: str) -> str | None:
    """The address of a hop, which may come with a port; None when it is none."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ip_address(hop))
    except ValueError:
        return None
