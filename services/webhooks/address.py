"""Addresses: which trigger a path names; and where a call comes from, by the address that reached us or by what our own
proxies say of it, with what that allows.

`X-Forwarded-For` is read from its end, and only as far as the hops are proxies that the operator trusts: whatever
stands before them anybody may have written.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from uuid import UUID

from libs.common.domain.tenant import is_slug
from libs.common.domain.webhook_settings import WEBHOOK_SLUG
from libs.common.errors import NotFound
from libs.common.settings import Network

_IS_SLUG = re.compile(WEBHOOK_SLUG)


def split_path(path: str) -> tuple[str, str | None]:
    """Place and token of `/webhooks/{place}[/{token}]`, the place being a trigger's id or `{tenant's slug}/{slug}`.

    A slug of a tenant is never a UUID, so the two cannot be taken for one another. Raises `NotFound` for other paths.
    """
    parts = [part for part in path.split("/") if part]
    if len(parts) > 2 and not _is_id(parts[1]):
        parts[1:3] = ["/".join(parts[1:3])]
    if len(parts) not in (2, 3) or parts[0] != "webhooks":
        raise NotFound("There is no such webhook.")
    return parts[1], parts[2] if len(parts) == 3 else None


def is_called(place: str) -> bool:
    """Whether a place may be `{tenant's slug}/{slug}`."""
    tenant, _, slug = place.partition("/")
    return is_slug(tenant) and _IS_SLUG.match(slug) is not None


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def caller_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The caller's address, given who connected and the `X-Forwarded-For` that came with it."""
    if not trusted or not forwarded or not _within(peer, tuple(trusted)):
        return peer
    address = peer
    for hop in reversed(forwarded.split(",")):
        if (plain := _plain(hop.strip())) is None:
            return address
        address = plain
        if not _within(address, tuple(trusted)):
            return address
    return address


@lru_cache(maxsize=1024)
def networks_of(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks of a trigger, as they were validated."""
    return tuple(ip_network(text, strict=False) for text in texts)


def is_from(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return _within(address, tuple(networks))


def is_origin_allowed(origin: str, allowed: Sequence[str]) -> bool:
    """Whether a page of this origin may call; callers that are no browser send none and are no page's business."""
    return not allowed or not origin or "*" in allowed or origin.lower() in {one.lower() for one in allowed}


@lru_cache(maxsize=4096)
def _within(text: str, networks: tuple[Network, ...]) -> bool:
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
