"""Addresses: which trigger a path names, and what the address of a caller or the origin of a page allows."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_network
from uuid import UUID

from libs.common.domain.tenant import is_slug
from libs.common.domain.webhook_settings import WEBHOOK_SLUG
from libs.common.errors import NotFound
from libs.common.security.caller_address import is_within
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


@lru_cache(maxsize=1024)
def networks_of(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks of a trigger, as they were validated."""
    return tuple(ip_network(text, strict=False) for text in texts)


def is_from(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return is_within(address, tuple(networks))


def is_origin_allowed(origin: str, allowed: Sequence[str]) -> bool:
    """Whether a page of this origin may call; callers that are no browser send none and are no page's business."""
    return not allowed or not origin or "*" in allowed or origin.lower() in {one.lower() for one in allowed}
