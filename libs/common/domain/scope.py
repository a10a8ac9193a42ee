"""What templates and conditions see of a run: the names of the contract, from what the trigger brought.

`input` is always there: the run's input, or a webhook's body (or what a transform made of the call), or an event's
data (or what a transform made of it). For an event, and for a run that was started with an input, the data's own
top-level names may be used directly too; they never hide a name of the contract.
"""

from collections.abc import Mapping
from typing import Any

CONTRACT_NAMES = frozenset(
    {
        "input",
        "trigger",
        "webhook",
        "event",
        "actions",
        "workflow",
        "execution",
        "tenant",
        "secrets",
        "vars",
        "now",
        "date",
    }
)
ENVELOPED = frozenset({"event", "workflow", "failure"})
"""What starts these came from inside, and brings what led to it along."""
_NAMES_ON_TOP = frozenset({"manual", "event", "workflow", "failure"})
_BODIES = {"webhook": "body", **dict.fromkeys(ENVELOPED, "data")}
"""Where the input stands in what the trigger brought, unless a transform has made another one of it."""


def build_scope(
    trigger: Mapping[str, Any],
    data: Any,
    execution: Mapping[str, Any],
    workflow: Mapping[str, Any],
    tenant: Mapping[str, Any],
) -> dict[str, Any]:
    """The scope of a run. `data` is the execution's stored input; its shape depends on the trigger's type."""
    scope: dict[str, Any] = {}
    kind = trigger["type"]
    body = data.get("input", data.get(_BODIES[kind])) if kind in _BODIES else data
    if kind in _NAMES_ON_TOP and isinstance(body, dict):
        scope.update({name: value for name, value in body.items() if name not in CONTRACT_NAMES})  # pyright: ignore
    scope.update(input=body, trigger=trigger, execution=execution, workflow=workflow, tenant=tenant)
    if kind in ("webhook", "event"):
        scope[kind] = data
    return scope
