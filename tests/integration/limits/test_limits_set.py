"""Plans and limits of a tenant as the platform sets them, and as the tenant sees them."""

import pytest

from libs.common.errors import OperatorError
from libs.common.limits.plans import Plans
from libs.common.settings import load_settings
from libs.common.telemetry.registry import REGISTRY
from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.definitions import workflow
from tests.integration.limits.conftest import limit


async def test_a_tenant_without_a_plan_is_not_limited(acme: World) -> None:
    shown = (await acme.call("GET", "/usage")).json()
    assert shown["plan"] == "unlimited"
    assert {one["value"] for one in shown["limits"]} == {None}


async def test_a_tenant_overrides_single_limits_of_its_plan(acme: World) -> None:
    stored = await limit(acme, plan="standard", workflows=3, retention_days=None)
    assert (stored["plan"], stored["quota"]) == ("standard", {"workflows": 3, "retention_days": None})
    limits = stored["limits"]
    assert (limits["workflows"], limits["retention_days"], limits["schedules"]) == (3, None, 50)


async def test_limits_are_the_tenant_s_own(acme: World) -> None:
    await limit(acme, workflows=0)
    refused = await acme.call("POST", "/workflows", workflow("One"))
    assert refused.status_code == 402
    await acme.made(workflow("One"), slug="other")


async def test_who_sets_limits_is_on_record_with_what_changed(acme: World) -> None:
    await limit(acme, workflows=3)
    await limit(acme, plan="standard")
    rows = (await acme.call("GET", "/audit?kind=tenant.limits_set", role="owner")).json()["items"]
    changed = {one["path"]: (one["before"], one["after"]) for one in rows[0]["changes"]}
    assert (rows[0]["credential"], changed["plan"]) == ("platform", ("unlimited", "standard"))
    assert changed["limits.workflows"] == (3, 100)


async def test_what_is_refused_is_counted_by_limit(acme: World) -> None:
    name, labels = "signalbox_limit_refusals_total", {"limit": "workflows"}
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    await limit(acme, workflows=0)
    assert (await acme.call("POST", "/workflows", workflow("One"))).status_code == 402
    assert REGISTRY.get_sample_value(name, labels) == before + 1


async def test_a_fault_names_the_parameter_as_it_was_sent(acme: World) -> None:
    for path in ("/usage", "/executions", "/events"):
        answer = await acme.call("GET", f"{path}?from=yesterday")
        assert answer.status_code == 422, path
        assert [fault["path"] for fault in answer.json()["errors"]] == ["from"], path


async def test_the_tenant_sees_its_limits_and_how_much_is_used(acme: World) -> None:
    await limit(acme, workflows=3, api_rate="100/d")
    await acme.made(workflow("One"))
    shown = (await acme.call("GET", "/usage")).json()
    use = {one["name"]: (one["value"], one["used"]) for one in shown["limits"]}
    assert use["workflows"] == (3, 1)
    assert use["api_rate"] == ("100/d", 2)  # the workflow and this very call
    assert use["executions_in_flight"] == (None, 0)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"plan": "nothing"}, "plan"),
        ({"quota": {"workflows": -1}}, "quota.workflows"),
        ({"quota": {"api_rate": "often"}}, "quota.api_rate"),
        ({"quota": {"cakes": 1}}, "quota.cakes"),
    ],
)
async def test_what_is_no_limit_is_refused_with_its_path(acme: World, body: dict[str, object], path: str) -> None:
    tenant = (await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'"))[0]["tenant_id"]
    answer = await acme.client.put(f"/api/v1/admin/tenants/{tenant}/limits", json=body, headers=ADMIN)
    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["errors"]] == [path]
    assert "regex" not in answer.text
    shown = await acme.client.get(f"/api/v1/admin/tenants/{tenant}/limits", headers=ADMIN)
    assert (shown.json()["plan"], shown.json()["quota"]) == ("unlimited", {})


async def test_limits_of_a_tenant_that_is_not_there(acme: World) -> None:
    path = "/api/v1/admin/tenants/00000000-0000-7000-8000-000000000000/limits"
    assert (await acme.client.put(path, json={}, headers=ADMIN)).status_code == 404
    assert (await acme.client.get(path, headers=ADMIN)).status_code == 404
    own = await acme.call("GET", "/admin/tenants/00000000-0000-7000-8000-000000000000/limits")
    assert own.status_code == 401


def test_plans_of_the_settings_replace_and_add() -> None:
    plans = Plans(load_settings({"SIGNALBOX_PLANS": '{"free": {"workflows": 5}}', "SIGNALBOX_DEFAULT_PLAN": "free"}))
    assert plans.limits(None, "{}").workflows == 5
    assert plans.limits("standard", "{}").workflows == 100
    assert plans.limits("gone", '{"schedules": 1}').schedules == 1


@pytest.mark.parametrize("text", ["[]", "{", '{"free": {"workflows": "many"}}'])
def test_plans_that_cannot_be_read_are_one_line(text: str) -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_PLANS"):
        Plans(load_settings({"SIGNALBOX_PLANS": text}))


def test_a_default_plan_that_is_not_there_is_one_line() -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_DEFAULT_PLAN"):
        Plans(load_settings({"SIGNALBOX_DEFAULT_PLAN": "gold"}))
