"""What opens an endpoint is sent to that endpoint and stands nowhere else: not in a record, not in a log line."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor
from tests.integration.executor.test_runs import call, log
from tests.servers import free_port

SECRET = "s3cret-0123456789"
_STORED = "SELECT row_to_json(e)::text FROM executions e UNION ALL SELECT row_to_json(a)::text FROM action_executions a"


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize(
    "config",
    [
        {"auth": {"type": "bearer", "token": SECRET}},
        {"auth": {"type": "basic", "username": "ada", "password": SECRET}},
        {"auth": {"type": "header", "name": "X-Partner", "value": SECRET}},
        {"headers": {"X-Api-Key": SECRET, "Cookie": f"session={SECRET}"}},
        {"query": {"api_key": SECRET}},
        {"url": "{url}/hook?page=1&api_token={secret}&limit=2"},
        {"body": {"client": {"client_secret": SECRET, "id": 7}}},
        {"form": {"grant_type": "password", "password": SECRET}},
    ],
    ids=["bearer", "basic", "own header", "headers", "query", "address", "body", "form"],
)
async def test_a_credential_is_sent_and_kept_nowhere(
    executor: Executor, endpoint: Endpoint, acme: World, logged: Callable[[], str], config: dict[str, Any],
    reachable: bool,
) -> None:  # fmt: skip
    url = endpoint.url if reachable else f"http://127.0.0.1:{free_port()}"
    given = {"url": f"{url}/hook", **config}
    given["url"] = given["url"].replace("{url}", url).replace("{secret}", SECRET)
    run = await executor.run([{"key": "call", "type": "http_request", "config": given}, log("after")])
    assert run["status"] == ("completed" if reachable else "failed")
    sent = str(endpoint.requests)
    basic = base64.b64encode(f"ada:{SECRET}".encode()).decode()
    assert (SECRET in sent or basic in sent) is reachable
    stored = "\n".join(row["row_to_json"] for row in await acme.fetch(_STORED))
    seen = logged()
    assert ("execution ended" in seen, "***" in stored) == (True, True)
    for text in (stored, seen, str(run)):
        assert SECRET not in text
        assert basic not in text


async def test_a_user_and_password_in_the_address_are_refused_and_kept_nowhere(
    executor: Executor, endpoint: Endpoint, acme: World, logged: Callable[[], str]
) -> None:
    address = endpoint.url.replace("://", f"://ada:{SECRET}@")
    run = await executor.run([call(endpoint, config={"url": address})])
    assert (run["status"], run["error"]["class"], endpoint.requests) == ("failed", "invalid_request", [])
    stored = "\n".join(row["row_to_json"] for row in await acme.fetch(_STORED))
    assert SECRET not in stored + logged()
