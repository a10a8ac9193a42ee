"""Scheduled tasks as values: the workflow that each type becomes, and faults that never raise and name their place."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.catalogue import checkers
from libs.common.domain.scheduled_task import ScheduledTask, read_task, task_path
from libs.common.domain.validation import validate_definition

HOURLY = {"type": "interval", "hours": 1}
TYPES = checkers()


def definition(type_name: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The workflow of a task that has no fault."""
    raw = {"name": "Nightly", "type": type_name, "schedule": HOURLY, "config": config, **more}
    task, faults = read_task(raw, TYPES)
    assert faults == []
    assert task is not None
    assert validate_definition(task.document, TYPES) == (task.definition, [])
    return task.document


def test_a_workflow_is_run_and_waited_for() -> None:
    made = definition("workflow", {"workflow": "Greet", "input": {"name": "Ada"}}, enabled=False, timeout_seconds=60)
    assert made == {
        "name": "Nightly", "enabled": False, "timeout_seconds": 60,
        "triggers": [{"key": "schedule", "type": "schedule", "config": HOURLY}],
        "actions": [
            {"key": "run", "type": "run_workflow", "config": {"workflow": "Greet", "input": {"name": "Ada"}}}
        ],
        "output": "{{ actions.run.output }}",
    }  # fmt: skip


def test_retries_are_those_of_every_action() -> None:
    made = definition("report", {"deliver": {"type": "send_notification"}}, max_retries=3)
    retry = {"max_attempts": 4, "retry_on": ["any"]}
    assert [(one["key"], one["retry"]) for one in made["actions"]] == [("report", retry), ("deliver", retry)]
    assert "retry" not in definition("report", {}, max_retries=0)["actions"][0]


@pytest.mark.parametrize(
    ("deliver", "config"),
    [
        (
            {"type": "send_email", "config": {"to": "ada@example.com", "subject": "Mine"}},
            {"to": "ada@example.com", "subject": "Mine", "text": "{{ actions.report.output.text }}"},
        ),
        (
            {"type": "http_request", "config": {"url": "https://example.com"}},
            {"url": "https://example.com", "method": "POST", "body": "{{ actions.report.output }}"},
        ),
        (
            {"type": "send_notification", "config": {"channel": "slack", "url": "https://hooks.slack.com/x"}},
            {"channel": "slack", "url": "https://hooks.slack.com/x", "title": "{{ workflow.name }}",
             "message": "{{ actions.report.output.text }}"},
        ),
    ],
)  # fmt: skip
def test_a_report_is_delivered_with_what_was_not_said(deliver: dict[str, Any], config: dict[str, Any]) -> None:
    made = definition("report", {"period_days": 1, "deliver": deliver})
    assert made["actions"][0]["config"] == {"period_days": 1}
    assert (made["actions"][1]["type"], made["actions"][1]["config"]) == (deliver["type"], config)
    assert made["output"] == "{{ actions.report.output }}"


def test_places_of_faults() -> None:
    assert task_path("action", "actions[0].config.url") == "config.config.url"
    assert task_path("cleanup", "actions[0].config") == "config"
    assert task_path("report", "actions[1].config.to[0]") == "config.deliver.config.to[0]"
    assert task_path("workflow", "triggers[0].config.exclude[1]") == "schedule.exclude[1]"
    assert task_path("workflow", "triggers") == "schedule"
    assert task_path(["?"], "name") == "name"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = list(ScheduledTask.__struct_fields__)
_TYPES = st.sampled_from(["workflow", "action", "report", "cleanup"])
_CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        name: _JSON for name in ("type", "config", "workflow", "deliver", "period_days", "older_than_days", "what")
    },
)


@given(st.fixed_dictionaries({}, optional={name: _JSON for name in _FIELDS}), _TYPES | _JSON, _CONFIGS | _JSON)
def test_no_json_breaks_it(raw: dict[str, Any], type_name: Any, config: Any) -> None:
    task, faults = read_task({**raw, "type": type_name, "config": config}, TYPES)
    assert (task is None) == bool(faults)
