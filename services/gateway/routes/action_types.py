"""The catalogue of actions, as users see it."""

from typing import Any

import msgspec
from litestar import Router, get

from libs.common.domain.catalogue import CATALOGUE, ActionType
from services.gateway.auth import require_member
from services.gateway.documents import TENANT_SECURITY, problems


class ActionTypeShown(msgspec.Struct, frozen=True):
    """A type of action. `kind`: pure, local or effect; `config_schema`: JSON Schema of its config."""

    name: str
    kind: str
    title: str
    description: str
    config_schema: dict[str, Any]
    example: dict[str, Any]
    aliases: list[str]


class ActionTypes(msgspec.Struct, frozen=True):
    """All types; the list is short and has one page."""

    items: list[ActionTypeShown]
    next_cursor: None = None


@get("/action-types", sync_to_thread=False, responses=problems(400, 403), summary="List the types of actions")
def list_action_types() -> ActionTypes:
    """Every type with the JSON Schema of its config and an example."""
    return _TYPES


def _shown(row: ActionType) -> ActionTypeShown:
    return ActionTypeShown(
        row.name, str(row.kind), row.title, row.description, row.config_schema, row.example, list(row.aliases)
    )


_TYPES = ActionTypes([_shown(row) for name, row in CATALOGUE.items() if name == row.name])

ROUTER = Router(
    "/api/v1",
    route_handlers=[list_action_types],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Catalogue"],
)
