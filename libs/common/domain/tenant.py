"""Tenants: what a slug may look like, and what each role and scope may do."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal
from uuid import UUID

SLUG_RULE = "3 to 63 lower-case letters, digits and hyphens, beginning with a letter and ending with a letter or digit"

_SLUG = re.compile(r"[a-z](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")


class Role(StrEnum):
    """Roles within one tenant, weakest last. The platform administrator stands apart and is no role."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


RoleName = Literal["owner", "editor", "viewer"]

Area = Literal["workflows", "executions", "events", "data", "secrets", "api-keys", "audit"]
"""The parts of the API that a credential may be confined to."""

Scope = Literal[
    "workflows:read", "workflows:write", "executions:read", "executions:write", "events:read", "events:write",
    "data:read", "data:write", "secrets:read", "secrets:write", "api-keys:read", "api-keys:write",
    "audit:read",
]  # fmt: skip
"""An area and what may be done there; `write` includes `read`."""

_RANK = {"viewer": 1, "editor": 2, "owner": 3}


def is_slug(text: str) -> bool:
    """Whether `text` may be a tenant's slug. A UUID may not: `X-Tenant-ID` takes an id or a slug and must tell them
    apart.
    """
    return _SLUG.fullmatch(text) is not None and not _is_uuid(text)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def role_allows(role: str, needed: str) -> bool:
    """Whether `role` may do what needs `needed`: an owner may all, an editor what a viewer may. An unknown role may
    nothing.
    """
    return _RANK.get(role, 0) >= _RANK[needed]


def strongest_role(names: Sequence[str]) -> str | None:
    """The strongest role among the names; None when there is none."""
    known = [name for name in names if name in _RANK]
    return max(known, key=lambda name: _RANK[name]) if known else None


def scopes_allow(scopes: Sequence[str] | None, area: Area | None, *, writes: bool) -> bool:
    """Whether scopes let somebody read or write in an area; None as scopes: no limit. What belongs to no area is open
    to those without a limit only.
    """
    if scopes is None:
        return True
    return area is not None and (f"{area}:write" in scopes or (not writes and f"{area}:read" in scopes))


def scopes_include(scopes: Sequence[str] | None, wanted: Sequence[str] | None) -> bool:
    """Whether somebody of these scopes may hand out the wanted ones: never more than there are."""
    if scopes is None:
        return True
    if wanted is None:
        return False
    areas = [one.rpartition(":") for one in wanted]
    return all(f"{area}:write" in scopes or f"{area}:{kind}" in scopes for area, _, kind in areas)
