"""Whatever is sent to any operation of the description: it answers, with a status that the description names, and a
problem that says what is wrong. `SIGNALBOX_FUZZ_CASES` and `SIGNALBOX_FUZZ_SEED` choose how many and which.
"""

import os
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.definitions import hourly, webhook, workflow
from tests.integration.gateway.openapi_cases import Case, Operation, cases, operations

CASES = int(os.environ.get("SIGNALBOX_FUZZ_CASES", "10"))
SEED = int(os.environ.get("SIGNALBOX_FUZZ_SEED", "1"))
_SEPARATE = ("/stream",)
"""Answers without an end have tests of their own."""


async def some_ids(world: World) -> list[str]:
    """Ids of things that are there."""
    made = await world.made(workflow("There", triggers=[hourly(), webhook(type="github")]))
    run = await world.call("POST", f"/workflows/{made['id']}/execute", {"input": {}})
    return [made["id"], run.json()["execution_id"], *[one["id"] for one in made["triggers"]]]


def made_up(operation: Operation, document: dict[str, Any], ids: list[str]) -> list[Case]:
    """So many requests to one operation."""
    found: list[Case] = []

    @seed(SEED)
    @settings(
        max_examples=CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(cases(operation, document["components"]["schemas"], ids))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


async def send(world: World, operation: Operation, case: Case) -> httpx.Response:
    identity = ADMIN if operation.path.startswith("/api/v1/admin") else world.headers("acme")
    headers = identity if case.content is None else {**identity, "Content-Type": "application/json"}
    return await world.client.request(
        operation.method, case.path, params=case.query, content=case.content, headers=headers
    )


def fault(operation: Operation, case: Case, answer: httpx.Response) -> str | None:
    """What is wrong with an answer."""
    moved = answer.status_code == 404 and answer.json().get("detail") == "There is nothing at this address."
    if answer.status_code >= 500:
        return f"{operation.name} {case}: {answer.status_code} {answer.text[:300]}"
    if str(answer.status_code) not in operation.statuses and not moved and answer.status_code != 405:
        return f"{operation.name} {case}: {answer.status_code} is not in the description: {answer.text[:300]}"
    if answer.status_code >= 400 and answer.headers["content-type"] != "application/problem+json":
        return f"{operation.name} {case}: no problem document"
    return None


async def test_no_request_breaks_an_operation(acme: World) -> None:
    ids = await some_ids(acme)
    document = (await acme.client.get("/schema/openapi.json")).json()
    faults: list[str] = []
    sent = 0
    for operation in operations(document):
        if operation.path.endswith(_SEPARATE):
            continue
        for case in made_up(operation, document, ids):
            answer = await send(acme, operation, case)
            sent += 1
            if wrong := fault(operation, case, answer):
                faults.append(wrong)
    assert not faults, "\n".join(faults)
    assert sent > 3 * len(document["paths"])
