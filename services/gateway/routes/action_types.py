"""The catalogue of actions, as users see it: those that come with Signalbox and those of third parties."""

from typing import Any

import msgspec
from litestar import Router, get

from libs.common.actions.installed import installed
from libs.common.domain.action_type import ActionType, OnUnknown
from services.gateway.auth import require_member
from services.gateway.documents import TENANT_SECURITY, problems


class ActionTypeShown(msgspec.Struct, frozen=True):
    """A type of action. `kind`: pure, local or effect; `config_schema`: JSON Schema of its config; `output`: an example
    of what it gives; `on_unknown`: what becomes of an attempt in doubt, unless the action says otherwise; `package`:
    who made it, null for those that come with Signalbox.
    """

    name: str
    kind: str
    title: str
    description: str
    config_schema: dict[str, Any]
    example: dict[str, Any]
    aliases: list[str]
    output: Any
    on_unknown: OnUnknown
    package: str | None


class ActionTypes(msgspec.Struct, frozen=True):
    """All types; the list is short and has one page."""

    items: list[ActionTypeShown]
    next_cursor: None = None


@get("/action-types", sync_to_thread=False, responses=problems(400, 403), summary="List the types of actions")
def list_action_types() -> ActionTypes:
    """Every type with the JSON Schema of its config and an example."""
    have = installed()
    packages = {plugin.type.name: plugin.package for plugin in have.plugins}
    return ActionTypes([_shown(row, packages.get(name)) for name, row in have.catalogue.items() if name == row.name])


def _shown(row: ActionType, package: str | None) -> ActionTypeShown:
    return ActionTypeShown(
        row.name, str(row.kind), row.title, row.description, row.config_schema, row.example, list(row.aliases),
        row.output, row.on_unknown, package,
    )  # fmt: skip


ROUTER = Router(
    "/api/v1",
    route_handlers=[list_action_types],
    guards=[require_member],
    security=TENANT_SECURITY,
    tags=["Catalogue"],
)
