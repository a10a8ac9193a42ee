"""Tenants: what a slug may look like, and what each role may do."""

import re
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
