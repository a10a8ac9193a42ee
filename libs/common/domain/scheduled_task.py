"""Scheduled tasks: what a tenant wants done by the clock without a workflow of its own, as the definition of the
workflow that does it.

A task is one schedule trigger and an action or two from the catalogue, so firings, overlap, retries, records and
executions are those of every workflow. Pure; nothing here knows what is stored.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from libs.common.domain.faults import is_object, struct_faults
from libs.common.domain.schedule_config import ScheduleConfig
from libs.common.domain.schedule_validation import schedule_faults
from libs.common.domain.validation import ConfigCheck, validate_definition
from libs.common.domain.workflow import MAX_EXECUTION_SECONDS, Definition
from libs.common.errors import Fault

MAX_RETRIES = 20
TRIGGER_KEY = "schedule"

_REPORT_SECONDS = 300
_CLEANUP_SECONDS = 3_600

TaskType: TypeAlias = Literal["workflow", "action", "report", "cleanup"]
DeliveryType: TypeAlias = Literal["send_email", "http_request", "send_notification"]


class ScheduledTask(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A task. `schedule`: as the config of a schedule trigger; `config`: by the type, for `workflow` that of the action
    `run_workflow`, for `action` an `ActionTask`, for `report` a `ReportTask`, for `cleanup` that of `clean_up`.
    `max_retries`: how often an action that failed is tried again; `timeout_seconds`: for all of it.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    type: TaskType
    schedule: ScheduleConfig
    config: dict[str, Any] = {}
    description: Annotated[str, Meta(max_length=10_000)] = ""
    enabled: bool = True
    max_retries: Annotated[int, Meta(ge=0, le=MAX_RETRIES)] = 0
    timeout_seconds: Annotated[float, Meta(gt=0, le=MAX_EXECUTION_SECONDS)] | None = None


class ActionTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One action of the catalogue, as it would stand in a workflow."""

    type: Annotated[str, Meta(min_length=1, max_length=64)]
    config: dict[str, Any] = {}
    timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 60
    on_unknown: Literal["retry", "fail", "ask"] | None = None


class Delivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a report reaches people: an action, of whose config only what is the tenant's own must be said: `to` of a
    mail, `url` of a request, nothing of a notification in the product.
    """

    type: DeliveryType
    config: dict[str, Any] = {}


class ReportTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tenant's statistics of the last days; without `deliver` they are only the output of the execution."""

    period_days: Annotated[int, Meta(ge=1, le=366)] = 7
    deliver: Delivery | None = None


_CONFIGS: Mapping[str, type[msgspec.Struct]] = {"action": ActionTask, "report": ReportTask}
_PLACES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "action": (("actions[0]", "config"),),
    "report": (("actions[0].config", "config"), ("actions[1].config", "config.deliver.config")),
}
_ONLY_ACTION = (("actions[0].config", "config"),)
_TEXT = "{{ actions.report.output.text }}"
_DELIVERIES: Mapping[str, dict[str, Any]] = {
    "send_email": {"subject": "{{ workflow.name }}", "text": _TEXT},
    "http_request": {"method": "POST", "body": "{{ actions.report.output }}"},
    "send_notification": {"channel": "in_app", "title": "{{ workflow.name }}", "message": _TEXT},
}


class ReadTask(msgspec.Struct, frozen=True):
    """What a task is made of: the document of its workflow, and the same as a definition."""

    document: dict[str, Any]
    definition: Definition


def read_task(raw: Mapping[str, Any], action_types: Mapping[str, ConfigCheck]) -> tuple[ReadTask | None, list[Fault]]:
    """The task and no faults, or None and every fault with its path in the task. `action_types` as for
    `validate_definition`.
    """
    faults = _shape_faults(raw)
    document = _document(raw)
    definition, found = validate_definition(document, action_types)
    known = {fault.path for fault in faults}
    moved = [Fault(task_path(raw.get("type"), fault.path), fault.message) for fault in found]
    faults += [fault for fault in moved if fault.path not in known]
    return (None, faults) if definition is None or faults else (ReadTask(document, definition), [])


def task_path(type_name: object, path: str) -> str:
    """The place in a task of what stands at `path` in its workflow."""
    for theirs, ours in (*_PLACES.get(_known(type_name), _ONLY_ACTION), ("triggers[0].config", "schedule")):
        if path == theirs or path.startswith((f"{theirs}.", f"{theirs}[")):
            return ours + path.removeprefix(theirs)
    return "schedule" if path.startswith("triggers") else path


def _shape_faults(raw: Mapping[str, Any]) -> list[Fault]:
    faults = struct_faults(raw, ScheduledTask, "", skip=("schedule",))
    faults += schedule_faults(raw["schedule"], "schedule") if "schedule" in raw else [Fault("schedule", "is required")]
    config, wanted = raw.get("config", {}), _CONFIGS.get(_known(raw.get("type")))
    if wanted is not None and is_object(config):
        faults += struct_faults(config, wanted, "config")
    return faults


def _document(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The workflow of a task, which may have any faults; what is left out of it has one already."""
    kept = {name: raw[name] for name in ("name", "description", "enabled", "timeout_seconds") if name in raw}
    type_name, config = raw.get("type"), raw.get("config", {})
    actions = [_with_retry(one, raw.get("max_retries")) for one in _actions(type_name, config)]
    schedule = raw.get("schedule")
    triggers = [{"key": TRIGGER_KEY, "type": "schedule", "config": schedule}] if is_object(schedule) else []
    output = {"output": f"{{{{ actions.{actions[0]['key']}.output }}}}"} if actions else {}
    return {**kept, "triggers": triggers, "actions": actions, **output}


def _actions(type_name: object, config: object) -> Iterator[dict[str, Any]]:
    if not is_object(config):
        return
    match type_name:
        case "workflow":
            yield {"key": "run", "type": "run_workflow", "config": config}
        case "action":
            fields = ActionTask.__struct_fields__
            yield {"key": "action", **{name: config[name] for name in fields if name in config}}
        case "report":
            yield from _report(config)
        case "cleanup":
            yield {"key": "cleanup", "type": "clean_up", "config": config, "timeout_seconds": _CLEANUP_SECONDS}
        case _:
            return


def _report(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    period = {name: value for name, value in config.items() if name == "period_days"}
    yield {"key": "report", "type": "make_report", "config": period, "timeout_seconds": _REPORT_SECONDS}
    deliver: object = config.get("deliver")
    if not is_object(deliver):
        return
    by, given = deliver.get("type"), deliver.get("config", {})
    if isinstance(by, str) and by in _DELIVERIES and is_object(given):
        yield {"key": "deliver", "type": by, "config": {**_DELIVERIES[by], **given}}


def _known(type_name: object) -> str:
    """A type as the key of a table."""
    return type_name if isinstance(type_name, str) else ""


def _with_retry(action: dict[str, Any], retries: object) -> dict[str, Any]:
    if not isinstance(retries, int) or isinstance(retries, bool) or not 0 < retries <= MAX_RETRIES:
        return action
    return {**action, "retry": {"max_attempts": retries + 1, "retry_on": ["any"]}}
