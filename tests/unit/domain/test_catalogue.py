"""The catalogue as a whole: every row is complete, its schema says what validation does, and its example runs."""

import subprocess
import sys
from typing import Any

import jsonschema_rs
import pytest

from libs.common.domain.action_config import config_faults
from libs.common.domain.action_type import ActionKind, ActionType
from libs.common.domain.catalogue import CATALOGUE, TYPES, checkers, kind_of, kind_of_action
from libs.common.domain.templates import template_faults
from tests.servers import ROOT
from tests.unit.domain.test_action_config import BAD, GOOD


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)
def test_a_row_is_complete(row: ActionType) -> None:
    assert all((row.title, row.description.endswith("."), row.example))
    assert row.check(row.example, "config") == []
    assert template_faults(row.example, "config", None, ()) == []
    jsonschema_rs.meta.validate({**row.config_schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
    assert jsonschema_rs.validator_for(row.config_schema).is_valid(row.example)
    assert row.output is not None or row.name == "fail"


def test_names() -> None:
    assert len(CATALOGUE) == sum(1 + len(row.aliases) for row in TYPES)
    assert set(checkers()) == set(CATALOGUE)
    assert CATALOGUE["call_webhook"] is CATALOGUE["webhook"] is CATALOGUE["http_request"]
    assert CATALOGUE["update_field"] is CATALOGUE["update_record"]


@pytest.mark.parametrize(("name", "config"), GOOD)
def test_the_schema_takes_what_validation_takes(name: str, config: dict[str, Any]) -> None:
    schema = jsonschema_rs.validator_for(CATALOGUE[name].config_schema)
    assert [error.message for error in schema.iter_errors(config)] == []


@pytest.mark.parametrize(("name", "config", "paths"), BAD)
def test_the_schema_refuses_what_types_refuse(name: str, config: dict[str, Any], paths: list[str]) -> None:
    row = CATALOGUE[name]
    only_a_rule_is_broken = config_faults(config, row.config, "") == []
    assert jsonschema_rs.validator_for(row.config_schema).is_valid(config) is only_a_rule_is_broken


def test_what_may_be_done_twice_is_repeated_and_the_rest_is_not() -> None:
    effects = {row.name: row.on_unknown for row in TYPES if row.kind is ActionKind.EFFECT}
    assert effects == {
        "http_request": "retry", "send_email": "fail", "send_sms": "fail", "send_notification": "retry",
        "find_records": "retry", "make_report": "retry", "clean_up": "retry",
    }  # fmt: skip


def test_a_notification_inside_of_the_product_is_a_write_of_our_own() -> None:
    assert kind_of("send_notification") is ActionKind.EFFECT
    assert kind_of_action("send_notification", {"channel": "in_app"}) is ActionKind.LOCAL
    assert kind_of_action("send_notification", {"channel": "slack"}) is ActionKind.EFFECT
    assert kind_of_action("http_request", {"channel": "in_app"}) is ActionKind.EFFECT


def test_the_reference_says_what_the_catalogue_says() -> None:
    """Otherwise: `python scripts/describe_actions.py`."""
    script = ROOT / "scripts" / "describe_actions.py"
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0
    page = (ROOT / "docs" / "actions.md").read_text()
    assert [name for name in CATALOGUE if f"`{name}`" not in page] == []
