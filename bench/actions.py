"""What an action costs: of fifty that only compute, at saturation and alone; one that writes a record; one that runs
another workflow.

Every workflow is started by a signed webhook and seen to its end in the database, over the four processes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.following import flood, percentile, sample, warm_up
from bench.installation import WORKFLOW, Hook, Installation, Tenant, installation, make_tenant, servers
from libs.common.db.migrate import migrate

_ACTIONS = 50
_FLOOD_CALLS = 400
_LOCAL_CALLS = 3_000
_ALONE_CALLS = 100
_PER_SECOND = 10

_SET = {"type": "set_variables", "config": {"values": {"sum": "{{ webhook.body.amount * 2 }}"}}}
_LOG = {"type": "log", "if": "{{ vars.sum > 100 }}", "config": {"message": "{{ webhook.body.customer.id }} paid"}}
_RECORD = {
    "key": "save",
    "type": "create_record",
    "config": {"collection": "deals", "data": {"amount": "{{ webhook.body.amount }}", "stage": "new"}},
}
_CHILD = {"name": "child", "actions": [{"key": "only", "type": "log", "config": {"message": "{{ input.amount }}"}}]}
_RUN = {
    "key": "run",
    "type": "run_workflow",
    "config": {"workflow": "child", "input": {"amount": "{{ webhook.body.amount }}"}},
}


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    async with servers(folder) as environment:
        await migrate(environment["SIGNALBOX_DATABASE_URL"])
        async with installation(folder, environment) as running:
            tenant = await make_tenant(running.services)
            many = await tenant.hook(_workflow("many", _pure(_ACTIONS)))
            one = await tenant.hook(_workflow("one", _pure(1)))
            local = await tenant.hook(_workflow("local", [_RECORD]))
            parent = await _parent(tenant)
            for hook in (many, one, local, parent):
                await warm_up(running, hook, 50)
            alone, single, child = [await _alone(running, hook) for hook in (many, one, parent)]
            seconds = await flood(running, many, _FLOOD_CALLS)
            return {
                "actions.overhead_ms_saturated": seconds * 1000 / (_FLOOD_CALLS * _ACTIONS),
                "actions.overhead_ms_alone": (alone - single) / (_ACTIONS - 1),
                "actions.alone_50_actions_ms": alone,
                "actions.alone_1_action_ms": single,
                "actions.child_ms": child,
                "actions.local_per_s": _LOCAL_CALLS / await flood(running, local, _LOCAL_CALLS),
            }


async def _alone(running: Installation, hook: Hook) -> float:
    """Milliseconds from the call to the end, p50, with nothing else going on."""
    _, totals = await sample(running, hook, _ALONE_CALLS, _PER_SECOND)
    return percentile(totals, 50)


async def _parent(tenant: Tenant) -> Hook:
    await tenant.store(_CHILD)
    return await tenant.hook(_workflow("parent", [_RUN]))


def _workflow(name: str, actions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"name": name, "triggers": WORKFLOW["triggers"], "actions": list(actions)}


def _pure(count: int) -> list[dict[str, Any]]:
    """Actions that name values and write lines in turn."""
    return [{"key": f"a{number}", **(_LOG if number % 2 else _SET)} for number in range(count)]
