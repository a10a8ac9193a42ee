"""Which part of the API an address belongs to: what the scopes of a credential speak of.

An address that stands in no area is closed to credentials with scopes, so a new route is open to them only when
somebody has thought of it.
"""

from collections.abc import Mapping

from libs.common.domain.tenant import Area

_PREFIX = "/api/v1/"
_AREAS: Mapping[str, Area] = {
    "workflows": "workflows", "triggers": "workflows", "schedules": "workflows", "scheduled-tasks": "workflows",
    "action-types": "workflows", "webhook-logs": "workflows", "webhook-samples": "workflows",
    "executions": "executions", "jobs": "executions", "approvals": "executions", "queue": "executions",
    "usage": "executions", "events": "events", "collections": "data", "notifications": "data", "secrets": "secrets",
    "api-keys": "api-keys", "audit": "audit",
}  # fmt: skip
_RUNS = frozenset({"execute", "executions", "test", "fire", "backfill", "replay"})
"""The last part of addresses under workflows, triggers and webhook logs that are about running."""


def area_of(path_template: str) -> Area | None:
    """The area of a route, by its path; None: none."""
    parts = path_template.removeprefix(_PREFIX).strip("/").split("/")
    if not path_template.startswith(_PREFIX):
        return None
    return "executions" if len(parts) > 1 and parts[-1] in _RUNS and parts[0] in _AREAS else _AREAS.get(parts[0])
