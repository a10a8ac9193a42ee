"""Secrets in runs: an endpoint gets the value, and no record, answer or log line ever shows it."""

import pytest

from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log

VALUE = "sk_live_51Hx-canary"


@pytest.fixture
async def token(acme: World) -> str:
    assert (await acme.call("PUT", "/secrets/CRM_TOKEN", {"value": VALUE})).status_code in (200, 201)
    return VALUE


async def test_an_endpoint_gets_the_value_and_the_record_does_not(
    executor: Executor, endpoint: Endpoint, acme: World, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.headers = {"X-Echo": f"token={token}"}
    config = {
        "headers": {"X-Auth": "{{ secrets.CRM_TOKEN }}"},
        "body": {"note": "key {{ secrets.CRM_TOKEN }}!"},
        "query": {"k": "{{ secrets.CRM_TOKEN }}"},
    }
    run = await executor.run([call(endpoint, config=config), log("l", "{{ actions.call.output.headers }}")])
    ((path, headers, body),) = endpoint.requests
    assert (headers["X-Auth"], body.decode()) == (token, f'{{"note":"key {token}!"}}')
    assert token in path
    assert run["status"] == "completed"
    first, said = run["actions"]
    assert (first["input"]["body"], first["output"]["headers"]["x-echo"]) == ({"note": "key ***!"}, "token=***")
    assert said["output"]["message"]["x-echo"] == "token=***"
    tables = ("executions", "action_executions", "workflow_versions", "webhook_logs")
    stored = [str(await acme.fetch(f"SELECT * FROM {table}")) for table in tables]
    assert token not in "".join(stored) + capsys.readouterr().err


async def test_only_the_config_of_an_effect_has_the_value(executor: Executor, token: str) -> None:
    """Whatever is kept is masked before it is used again, so a run that was interrupted goes on with the same."""
    variables = {"key": "v", "type": "set_variables", "config": {"values": {"t": "{{ secrets.CRM_TOKEN }}"}}}
    run = await executor.run([variables, log("l", "{{ vars.t }}")], output={"o": "{{ secrets.CRM_TOKEN }}"})
    assert (run["actions"][1]["output"]["message"], run["output"]) == ("***", {"o": "***"})


async def test_a_condition_may_look_at_the_value(executor: Executor, token: str) -> None:
    run = await executor.run([log("l", **{"if": "{{ secrets.CRM_TOKEN.startsWith('sk_live') }}"})])
    assert attempts(run) == [("l", 1, "completed")]


async def test_errors_are_masked(executor: Executor, token: str) -> None:
    run = await executor.run([{"key": "f", "type": "fail", "config": {"message": "bad {{ secrets.CRM_TOKEN }}"}}])
    assert (run["status"], run["error"]["message"]) == ("failed", "bad ***")


async def test_a_secret_that_is_not_there_is_named(executor: Executor, acme: World, token: str) -> None:
    run = await executor.run([log("l", "{{ secrets.OTHER }}")])
    assert (run["status"], run["error"]["class"]) == ("failed", "template_error")
    assert "OTHER" in run["error"]["message"]


async def test_another_tenant_s_secret_is_not_seen(executor: Executor, acme: World, token: str) -> None:
    made = await acme.made({"name": "w", "actions": [log("l", "{{ secrets.CRM_TOKEN }}")]}, slug="other")
    answer = await acme.call("POST", f"/workflows/{made['id']}/execute", {}, slug="other")
    run = (await acme.call("GET", answer.headers["location"].removeprefix("/api/v1"), slug="other")).json()
    while run["finished_at"] is None:
        run = (await acme.call("GET", f"/executions/{run['id']}", slug="other")).json()
    assert run["status"] == "failed"


async def test_a_dry_run_shows_a_mask(acme: World, token: str) -> None:
    made = await acme.made({"name": "w", "actions": [log("l", "{{ secrets.CRM_TOKEN }}")]})
    tried = (await acme.call("POST", f"/workflows/{made['id']}/test", {})).json()
    assert tried["actions"][0]["output"]["message"] == "***"
