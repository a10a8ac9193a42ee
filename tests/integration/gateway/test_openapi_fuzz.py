"""Whatever schemathesis makes of the description of the API, fitting or not, is sent to its operation: it answers, with
a status, a content type and a body that the description has. `SIGNALBOX_FUZZ_CASES` (of an operation) and
`SIGNALBOX_FUZZ_SEED` choose how many and which.
"""

# schemathesis leaves open what its generic types are of
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

import json
import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.vendor.pretty import RepresentationPrinter
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.conftest import ADMIN, World
from tests.integration.db.test_foreign_tenant import Owned
from tests.integration.gateway.routes import OF_THE_PLATFORM, ROUTES, Route

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
Request: TypeAlias = Case[Operation]

CASES = int(os.environ.get("SIGNALBOX_FUZZ_CASES", "10"))
SEED = int(os.environ.get("SIGNALBOX_FUZZ_SEED", "1"))
_ADMIN_PATHS = "/api/v1/admin"
_SEPARATE = ("/stream",)
"""Answers without an end have tests of their own."""
_CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_TELLS_NOTHING = frozenset({401, 429})
"""Documented everywhere, but not what a request with the right credentials is sent for."""
_CONFIG = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})


def operations(document: dict[str, Any]) -> list[Operation]:
    """Every operation that ends, those last that take away what the others need."""
    described = schemathesis.openapi.from_dict(document, config=_CONFIG)
    found: list[Operation] = [
        described[path][method]
        for path, methods in document["paths"].items()
        for method in methods
        if not path.endswith(_SEPARATE)
    ]
    last = {label(one): one.last for one in ROUTES}
    return sorted(found, key=lambda one: (one.method == "delete", last.get(one.label, 0)))


def label(route: Route) -> str:
    """What schemathesis calls its operation."""
    return f"{route.method} {route.template}"


def there(owned: Owned, foreign: Owned) -> dict[str, dict[str, str]]:
    """By operation, parameters of its path that name something. The platform's operations do what they do to the tenant
    whose key is not used.
    """
    own = {label(one): one.parameters(owned) for one in ROUTES}
    return own | {label(one): one.parameters(foreign) for one in map(Route, OF_THE_PLATFORM)}


def made_up(operation: Operation, existing: Mapping[str, str]) -> list[Request]:
    """So many requests to one operation, some of which fit it, and some of which are for what exists."""
    found: list[Request] = []
    paths: list[dict[str, Any]] = [{}, dict(existing)] if existing else [{}]
    fitting_and_not = [operation.as_strategy(mode, path_parameters=one) for one in paths for mode in GenerationMode]

    @seed(SEED)
    @settings(
        max_examples=CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(st.one_of(fitting_and_not))
    def collect(case: Request) -> None:
        found.append(case)

    collect()
    return found


async def send(world: World, case: Request, slug: str) -> httpx.Response:
    asked = case.as_transport_kwargs("http://gateway.test")
    identity = ADMIN if case.operation.path.startswith(_ADMIN_PATHS) else world.headers(slug)
    content = json.dumps(asked["json"]).encode() if "json" in asked else asked.get("data")
    return await world.client.request(
        asked["method"], asked["url"], params=asked["params"], content=content, headers={**asked["headers"], **identity}
    )


def fault(case: Request, answer: httpx.Response) -> str | None:
    """What is wrong with an answer."""
    try:
        case.validate_response(answer, checks=_CHECKS)
    except FailureGroup as failures:
        return f"{case.operation.label}: {failures}"
    if answer.status_code in _TELLS_NOTHING:
        return f"{case.operation.label}: refused, which tells nothing: {answer.text}"
    return None


@pytest.mark.timeout(120 + 10 * CASES)
async def test_no_request_breaks_an_operation(
    world: World, both: tuple[Owned, Owned], monkeypatch: pytest.MonkeyPatch
) -> None:
    # schemathesis puts one that prints nothing in this place: no test after this one would say what it failed with
    monkeypatch.setattr("hypothesis.core.RepresentationPrinter", RepresentationPrinter)
    existing = there(*both)
    document = (await world.client.get("/schema/openapi.json")).json()
    faults: list[str] = []
    sent = 0
    for operation in operations(document):
        for case in made_up(operation, existing[operation.label]):
            answer = await send(world, case, "left")
            sent += 1
            if wrong := fault(case, answer):
                faults.append(wrong)
    assert not faults, "\n".join(faults)
    assert sent > 3 * len(document["paths"])
