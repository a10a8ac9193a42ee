"""In-app notifications: what a tenant's product shows to its users."""

from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

Level: TypeAlias = Literal["info", "success", "warning", "error"]

EVERYBODY = ""
"""In place of a user: the notification is for the whole tenant, and read when anybody has read it."""

MAX_TITLE = 200
MAX_MESSAGE = 4_000
MAX_LINK = 2_000
MAX_USER = 200


class Notification(msgspec.Struct, frozen=True):
    """A message to a user, by the name that the tenant gives its users, or to everybody."""

    tenant_id: UUID
    id: UUID
    user_id: str
    level: Level
    title: str
    message: str
    link: str | None
    execution_id: UUID | None
    created_at: datetime
    read_at: datetime | None = None
