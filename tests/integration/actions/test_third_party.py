"""Actions of third parties: the example package in the catalogue, in validation and at work; and packages that are
broken.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from structlog.testing import capture_logs

from libs.common.actions.installed import installed, kind_of
from libs.common.domain.action_type import ActionKind
from libs.common.domain.catalogue import CATALOGUE
from libs.common.domain.pure_actions import ActionFailed
from tests.integration.actions.conftest import ATTEMPT, OURS, Vendor, effects_with, failure_of, run
from tests.integration.actions.packages import EXAMPLE, example_metadata, visible, write_metadata
from tests.integration.conftest import World


@pytest.fixture
def example(tmp_path: Path) -> Iterator[None]:
    """The example package is installed."""
    example_metadata(tmp_path)
    with visible(EXAMPLE, tmp_path):
        yield


def package(folder: Path, name: str, code: str, target: str = "Thing") -> None:
    """A package with one module and one entry point."""
    module = name.replace("-", "_")
    folder.joinpath(f"{module}.py").write_text(code)
    write_metadata(folder, name, {"thing": f"{module}:{target}"})


def code(name: str = "thing", body: str = "pass", example: str = "{'text': 'x'}", setup: str = "") -> str:
    return f"""
import msgspec
from libs.common.actions import action
{setup}
@action("{name}", title="Thing", example={example})
class Thing:
    class Config(msgspec.Struct, frozen=True):
        text: str
    async def run(self, config, context):
        {body}
"""


async def test_the_catalogue_shows_it(example: None, acme: World) -> None:
    rows = {row["name"]: row for row in (await acme.call("GET", "/action-types")).json()["items"]}
    assert set(rows) > {row.name for row in CATALOGUE.values()}
    expected = {
        "kind": "effect", "on_unknown": "retry", "package": "acme-signalbox-actions", "title": "Convert money",
        "description": "Converts an amount of US dollars at today's rate.",
    }  # fmt: skip
    assert {name: rows["acme_exchange"][name] for name in expected} == expected
    assert (rows["acme_initials"]["kind"], rows["acme_initials"]["on_unknown"]) == ("pure", "retry")
    assert rows["http_request"]["package"] is None
    schema = jsonschema_rs.validator_for(rows["acme_exchange"]["config_schema"])
    assert schema.is_valid(rows["acme_exchange"]["example"])
    assert not schema.is_valid({"service": "x", "amount": -1})


async def test_definitions_are_validated_against_it(example: None, acme: World) -> None:
    config = {"service": "https://x", "amount": -1, "to": "DM", "too": 1}
    actions: list[dict[str, Any]] = [
        {"type": "acme_exchange", "config": config},
        {"type": "acme_initials", "config": {}},
    ]
    answer = await acme.call("POST", "/workflows", {"name": "w", "actions": actions})
    assert answer.status_code == 422
    assert {fault["path"] for fault in answer.json()["errors"]} == {
        "actions[0].config.amount", "actions[0].config.to", "actions[0].config.too", "actions[1].config.name",
    }  # fmt: skip
    good = {"service": "{{ input.url }}", "amount": "{{ input.amount }}"}
    await acme.made({"name": "w", "actions": [{"type": "acme_exchange", "config": good}]})


async def test_it_runs_behind_the_guard_and_carries_the_key(example: None, vendor: Vendor) -> None:
    vendor.answers(200, b'{"rate": 0.5}', Content_Type="application/json")
    async with effects_with() as effects:
        output = await run(effects, "acme_exchange", service=vendor.url, amount="185", to="GBP")
        assert output == {"amount": 92.5, "currency": "GBP"}
        call = vendor.the_call()
        assert (call.method, call.target) == ("GET", "/latest?base=USD&symbol=GBP")
        assert {name: call.headers[name] for name in OURS} == OURS
        assert await run(effects, "acme_initials", name="ada lovelace") == {"initials": "AL"}
        vendor.answers(200, b"[]", Content_Type="application/json")
        failure = await failure_of(effects, "acme_exchange", service=vendor.url, amount=1)
        assert (failure.error_class, failure.message) == ("acme_no_rate", "the service has no rate for EUR")
        vendor.answers(429, Retry_After="9")
        failure = await failure_of(effects, "acme_exchange", service=vendor.url, amount=1)
        assert (failure.error_class, failure.http_status, failure.retry_after_seconds) == ("http_status", 429, 9)
        failure = await failure_of(effects, "acme_exchange", service=vendor.url, amount="much")
        assert failure.error_class == "invalid_config"
    async with effects_with("") as effects:
        failure = await failure_of(effects, "acme_exchange", service=vendor.url, amount=1)
        assert failure.error_class == "blocked"


def test_the_engine_runs_it_as_an_effect_whatever_it_calls_itself(example: None) -> None:
    assert [kind_of(name) for name in ("acme_exchange", "acme_initials", "log", "create_task")] == [
        ActionKind.EFFECT, ActionKind.EFFECT, ActionKind.PURE, ActionKind.LOCAL,
    ]  # fmt: skip
    with pytest.raises(KeyError):
        kind_of("acme_unknown")


BROKEN = {
    "no-module": (None, "ModuleNotFoundError"),
    "no-class": ("x = 1", "AttributeError"),
    "bad-syntax": ("def", "SyntaxError"),
    "raises": ("raise RuntimeError('at import')", "at import"),
    "exits": ("import sys; sys.exit(3)", "SystemExit"),
    "undecorated": ("class Thing: pass", "TypeError: it is no class with the decorator"),
    "bad-name": (code("Not A Name"), "cannot be the name of an action"),
    "bad-example": (code(example="{'texd': 'x'}"), "example.texd is not a field"),
    "takes-ours": (code("webhook"), "the name 'webhook' belongs to Signalbox itself"),
    "not-async": (code().replace("async def", "def"), "needs: async def run(self, config, context)"),
    "no-config": (code().replace("(msgspec.Struct, frozen=True)", ""), "needs a msgspec.Struct for its config"),
    "bad-start": (code(setup="").replace("    async def", "    def __init__(self, x): ...\n    async def"), "__init__"),
}


@pytest.mark.parametrize(("name", "case"), BROKEN.items(), ids=BROKEN.keys())
def test_a_broken_package_is_one_line_and_nothing_else(tmp_path: Path, name: str, case: tuple[str | None, str]) -> None:
    if case[0] is None:
        write_metadata(tmp_path, name, {"thing": "nowhere_to_be_found:Thing"})
    else:
        package(tmp_path, name, case[0])
    package(tmp_path, "sound", code("sound_thing"))
    with visible(tmp_path), capture_logs() as lines:
        assert [plugin.type.name for plugin in installed().plugins] == ["sound_thing"]
    (line,) = lines
    assert (line["event"], line["package"], line["log_level"]) == ("an action is left out", name, "error")
    assert case[1] in line["reason"]


def test_two_packages_with_one_name(tmp_path: Path) -> None:
    package(tmp_path, "b-second", code())
    package(tmp_path, "a-first", code())
    with visible(tmp_path), capture_logs() as lines:
        assert [plugin.package for plugin in installed().plugins] == ["a-first"]
    assert [(line["package"], line["reason"]) for line in lines] == [
        ("b-second", "ValueError: the name 'thing' belongs to a-first")
    ]


@pytest.mark.parametrize(
    ("body", "output"), [("return {'b': (1, 2)}", {"b": [1, 2]}), ("return config", {"text": "t"}), ("pass", None)]
)
async def test_the_output_is_json(tmp_path: Path, body: str, output: Any) -> None:
    package(tmp_path, "sound", code(body=body))
    with visible(tmp_path):
        async with effects_with() as effects:
            assert await run(effects, "thing", text="t") == output


async def test_an_output_that_is_no_json_is_a_failure(tmp_path: Path) -> None:
    package(tmp_path, "sound", code(body="return object()"))
    with visible(tmp_path):
        async with effects_with() as effects:
            with pytest.raises(ActionFailed, match="does not fit into JSON"):
                await effects.types()["thing"]({"text": "t"}, ATTEMPT)
