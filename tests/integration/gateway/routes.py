"""Every route of the gateway, as a tenant calls it with ids that may be another's."""

import re
from dataclasses import dataclass
from typing import Any, cast

import httpx

from tests.integration.conftest import World
from tests.integration.db.test_foreign_tenant import Owned
from tests.integration.gateway.definitions import workflow

OF_NOBODY = {
    "WS /api/v1/executions/ws": "a test of its own",
    "GET /docs": "a page that is the same for all",
    "GET /docs/start.js": "the same",
    "GET /docs/{name:str}": "the same",
    "GET /schema": "the description, the same for all",
    "GET /schema/openapi.json": "the same",
    "GET /schema/{path:str}": "the same",
}
OF_THE_PLATFORM = (
    "GET /api/v1/admin/tenants",
    "POST /api/v1/admin/tenants",
    "GET /api/v1/admin/tenants/{tenant_id:uuid}",
    "PATCH /api/v1/admin/tenants/{tenant_id:uuid}",
    "POST /api/v1/admin/tenants/{tenant_id:uuid}/suspend",
    "POST /api/v1/admin/tenants/{tenant_id:uuid}/resume",
    "GET /api/v1/admin/tenants/{tenant_id:uuid}/export",
    "POST /api/v1/admin/tenants/{tenant_id:uuid}/erase",
    "GET /api/v1/admin/erasures",
    "GET /api/v1/admin/erasures/{tenant_id:uuid}",
    "GET /api/v1/admin/tenants/{tenant_id:uuid}/api-keys",
    "POST /api/v1/admin/tenants/{tenant_id:uuid}/api-keys",
    "GET /api/v1/admin/tenants/{tenant_id:uuid}/api-keys/{key_id:uuid}",
    "DELETE /api/v1/admin/tenants/{tenant_id:uuid}/api-keys/{key_id:uuid}",
    "GET /api/v1/admin/audit-log",
    "GET /api/v1/admin/doctor",
    "POST /api/v1/admin/doctor",
    "GET /api/v1/admin/tenants/{tenant_id:uuid}/limits",
    "PUT /api/v1/admin/tenants/{tenant_id:uuid}/limits",
    "GET /api/v1/admin/usage",
)
_FIELDS = {
    "tenant_id": "tenant", "key_id": "key", "workflow_id": "workflow", "trigger_id": "trigger", "job_id": "job",
    "execution_id": "ended", "record_id": "record", "notification_id": "notification", "event_id": "event",
    "approval_id": "approval", "log_id": "call", "task_id": "task",
}  # fmt: skip
"""Which row of a tenant a parameter names, unless the entry says otherwise."""
_PARAMETER = re.compile(r"\{(\w+):\w+\}")


@dataclass(frozen=True)
class Route:
    """A call. `foreign`, `own`: the status with another tenant's ids and with one's own. `body`: `$x` in it stands for
    the row x of the tenant. `row`: what the path's id names; `place`: the other parameters of the path. `last`: it
    takes away what the others need. `shows_ids`: what it shows of one's own has ids.
    """

    name: str
    foreign: int = 404
    own: int = 200
    body: Any = None
    row: str = ""
    place: str = ""
    last: int = 0
    shows_ids: bool = True

    @property
    def method(self) -> str:
        return self.name.split()[0]

    @property
    def template(self) -> str:
        """The path as the description of the API has it: the names of its parameters without their types."""
        return _PARAMETER.sub(r"{\1}", self.name.split()[1])

    def parameters(self, owned: Owned) -> dict[str, str]:
        """What the path's parameters are for `owned`."""
        names, places = _PARAMETER.findall(self.name), iter(self.place.split())
        return {name: _id(owned, self.row or _FIELDS[name]) if name in _FIELDS else next(places) for name in names}

    async def send(self, world: World, slug: str, owned: Owned) -> httpx.Response:
        """The answer to a tenant that asks for `owned`."""
        path = self.template.removeprefix("/api/v1").format_map(self.parameters(owned))
        return await world.call(self.method, path, _filled(self.body, owned), slug=slug, role="owner")


def _id(owned: Owned, name: str) -> str:
    return str(owned.job.id if name == "job" else getattr(owned, name))


def _filled(body: Any, owned: Owned) -> Any:
    match body:
        case dict():
            return {key: _filled(value, owned) for key, value in cast("dict[str, Any]", body).items()}
        case list():
            return [_filled(value, owned) for value in cast("list[Any]", body)]
        case str() if body.startswith("$"):
            return _id(owned, body[1:])
        case _:
            return body


_WORKFLOW, _EXECUTION = "/api/v1/workflows/{workflow_id:uuid}", "/api/v1/executions/{execution_id:uuid}"
_TRIGGER, _LOGS = "/api/v1/triggers/{trigger_id:uuid}", "/api/v1/webhook-logs/{log_id:uuid}"
_TASK, _COLLECTION = "/api/v1/scheduled-tasks/{task_id:uuid}", "/api/v1/collections/{name:str}"
_RECORD = _COLLECTION + "/records/{record_id:uuid}"
_RANGE = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T02:00:00Z"}
_VALUE = {"data": {"a": 1}}
_CLEAN_UP = {
    "name": "Clean up", "type": "cleanup", "config": {"older_than_days": 30},
    "schedule": {"type": "interval", "hours": 1},
}  # fmt: skip

ROUTES = (
    Route("GET /api/v1/audit", 200, shows_ids=False),
    Route("GET /api/v1/api-keys", 200),
    Route("POST /api/v1/api-keys", 201, 201, {"name": "new", "role": "viewer"}),
    Route("GET /api/v1/api-keys/{key_id:uuid}"),
    Route("DELETE /api/v1/api-keys/{key_id:uuid}", own=204, last=1),
    Route("GET /api/v1/workflows", 200),
    Route("POST /api/v1/workflows", 201, 201, workflow("Another")),
    Route("POST /api/v1/workflows/validate", 200, 200, workflow()),
    Route(f"GET {_WORKFLOW}"),
    Route(f"PUT {_WORKFLOW}", body=workflow("Work"), last=1),
    Route(f"PATCH {_WORKFLOW}", body={"description": "changed"}, last=1),
    Route(f"DELETE {_WORKFLOW}", own=204, last=2),
    Route(f"PATCH {_WORKFLOW}/enable", body={"enabled": True}),
    Route(f"GET {_WORKFLOW}/versions", shows_ids=False),
    Route(f"GET {_WORKFLOW}/versions/{{version:int}}", place="1", shows_ids=False),
    Route(f"GET {_WORKFLOW}/triggers"),
    Route(f"GET {_WORKFLOW}/webhook-url"),
    Route(f"POST {_WORKFLOW}/execute", own=202, body={"input": {}}),
    Route(f"POST {_WORKFLOW}/test", body={"input": {}}),
    Route(f"GET {_WORKFLOW}/executions"),
    Route("POST /api/v1/schedules/preview", 200, 200, {"config": {"type": "interval", "hours": 1}}),
    Route("GET /api/v1/schedules", 200),
    Route(f"GET {_TRIGGER}/next-runs", row="schedule", shows_ids=False),
    Route(f"GET {_TRIGGER}/firings", row="schedule", shows_ids=False),
    Route(f"POST {_TRIGGER}/pause", row="schedule", body={}),
    Route(f"POST {_TRIGGER}/resume", row="schedule"),
    Route(f"POST {_TRIGGER}/fire", own=202, row="schedule", body={}),
    Route(f"POST {_TRIGGER}/backfill", own=202, row="schedule", body=_RANGE),
    Route(f"POST {_TRIGGER}/register-schedule", row="schedule"),
    Route(f"POST {_TRIGGER}/rotate-secret", own=409, body={}),
    Route(f"GET {_TRIGGER}/secrets", own=409, shows_ids=False),
    Route(f"POST {_TRIGGER}/test", body={"execute": True}),
    Route(f"GET {_TRIGGER}/webhook-logs"),
    Route(f"POST {_TRIGGER}/webhook-logs/replay", own=202, body={"ids": ["$call"]}),
    Route(f"GET {_LOGS}"),
    Route(f"POST {_LOGS}/replay", own=202, body={}),
    Route("GET /api/v1/webhook-samples", 200, shows_ids=False),
    Route("GET /api/v1/scheduled-tasks", 200),
    Route("POST /api/v1/scheduled-tasks", 201, 201, _CLEAN_UP),
    Route(f"GET {_TASK}"),
    Route(f"GET {_TASK}/executions", shows_ids=False),
    Route(f"POST {_TASK}/run", own=202, body={}),
    Route(f"POST {_TASK}/pause", body={}),
    Route(f"POST {_TASK}/resume"),
    Route(f"PUT {_TASK}", body=_CLEAN_UP | {"name": "Weekly"}, last=1),
    Route(f"PATCH {_TASK}", body={"max_retries": 1}, last=1),
    Route(f"DELETE {_TASK}", own=204, last=2),
    Route("GET /api/v1/executions", 200),
    Route("POST /api/v1/executions/cancel", 202, 202, {"workflow_id": "$workflow"}, last=1),
    Route("POST /api/v1/executions/retry", 202, 202, {"workflow_id": "$workflow", "status": ["failed"]}, last=1),
    Route(f"GET {_EXECUTION}"),
    Route(f"GET {_EXECUTION}/why-waiting", row="pending"),
    Route("GET /api/v1/queue", 200),
    Route(f"GET {_EXECUTION}/stream"),
    Route(f"GET {_EXECUTION}/actions", shows_ids=False),
    Route(f"GET {_EXECUTION}/logs", shows_ids=False),
    Route(f"GET {_EXECUTION}/values/{{name:str}}", place="input", shows_ids=False),
    Route(
        f"GET {_EXECUTION}/values/actions/{{position:int}}/{{iteration:int}}/{{attempt:int}}/{{name:str}}",
        place="0 0 1 output",
        shows_ids=False,
    ),
    Route(f"POST {_EXECUTION}/cancel", row="waiting", last=1),
    Route(f"POST {_EXECUTION}/pause", row="pending"),
    Route(f"POST {_EXECUTION}/resume", row="paused"),
    Route(f"POST {_EXECUTION}/retry", own=409),
    Route("GET /api/v1/jobs/{job_id:uuid}"),
    Route("GET /api/v1/secrets", 200, shows_ids=False),
    Route("GET /api/v1/secrets/{name:str}", 200, place="token", shows_ids=False),
    Route("PUT /api/v1/secrets/{name:str}", 200, 200, {"value": "mine"}, place="token"),
    Route("DELETE /api/v1/secrets/{name:str}", 204, 204, place="token", last=1),
    Route("GET /api/v1/collections", 200, shows_ids=False),
    Route("POST /api/v1/collections", 201, 201, {"name": "others"}),
    Route(f"GET {_COLLECTION}", 200, place="notes", shows_ids=False),
    Route(f"PATCH {_COLLECTION}", 200, body={"description": "changed"}, place="notes"),
    Route(f"GET {_COLLECTION}/records", 200, place="notes"),
    Route(f"POST {_COLLECTION}/records", 201, 201, _VALUE, place="notes"),
    Route(f"GET {_RECORD}", place="notes"),
    Route(f"PUT {_RECORD}", body=_VALUE, place="notes"),
    Route(f"PATCH {_RECORD}", body=_VALUE, place="notes"),
    Route(f"DELETE {_RECORD}", own=204, place="notes", last=1),
    Route(f"DELETE {_COLLECTION}", 409, 409, place="notes", last=2),
    Route("GET /api/v1/notifications", 200),
    Route("POST /api/v1/notifications/{notification_id:uuid}/read", own=200),
    Route("POST /api/v1/notifications/read-all", 200, 200),
    Route("GET /api/v1/events", 200),
    Route("POST /api/v1/events", 202, 202, {"type": "order"}),
    Route("GET /api/v1/events/{event_id:uuid}"),
    Route("GET /api/v1/approvals", 200),
    Route("GET /api/v1/approvals/{approval_id:uuid}"),
    Route("POST /api/v1/approvals/{approval_id:uuid}", body={"decision": "approve"}),
    Route("GET /api/v1/action-types", 200, shows_ids=False),
    Route("GET /api/v1/usage", 200, shows_ids=False),
)
