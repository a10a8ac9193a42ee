"""The rows of the catalogue for the actions on the tenant's own data. All are local: done in the journal's transaction,
exactly once, so that there is no doubt after a crash.
"""

from collections.abc import Iterator
from typing import Any

from libs.common.domain.action_type import ActionKind, ActionType, Rules
from libs.common.domain.configs.records import (
    AddTagConfig,
    CreateDealConfig,
    CreateRecordConfig,
    CreateTaskConfig,
    DeleteRecordConfig,
    FindRecordsConfig,
    UpdateLeadConfig,
    UpdateRecordConfig,
)
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.local_actions import literal_faults
from libs.common.domain.templates import has_template
from libs.common.errors import Fault


def _rules(type_name: str) -> Rules:
    """Finds what is wrong with the fields that hold no template, by the rules that hold when the action runs."""

    def check(config: dict[str, Any], path: str) -> list[Fault]:
        templated = {name for name, value in config.items() if any(has_template(text) for text in _texts(value))}
        return [Fault(f"{path}.{fault.path}", fault.message) for fault in literal_faults(type_name, config, templated)]

    return check


def _texts(root: object) -> Iterator[str]:
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif is_object(value):
            waiting += value.values()
        elif is_array(value):
            waiting += value


_RECORD: dict[str, Any] = {"id": "01890000-0000-7000-8000-000000000000", "version": 1, "data": {}, "tags": []}

RECORD_TYPES = (
    ActionType(
        "create_record", ActionKind.LOCAL, "Create a record", "Stores a new record in a collection.",
        CreateRecordConfig, {"collection": "payments", "data": {"amount": "{{ webhook.body.amount }}"}}, output=_RECORD,
        rules=_rules("create_record"),
    ),
    ActionType(
        "update_record", ActionKind.LOCAL, "Update a record", "Merges data into a record, or sets one field.",
        UpdateRecordConfig, {"collection": "deals", "id": "{{ event.data.record.id }}", "data": {"stage": "won"}},
        aliases=("update_field",), output=_RECORD,
        rules=_rules("update_record"),
    ),
    ActionType(
        "find_records", ActionKind.EFFECT, "Find records",
        "Reads the records of a collection that fit a filter, as they are at that moment.",
        FindRecordsConfig, {"collection": "deals", "filter": {"stage": "won"}, "limit": 10},
        output={"records": [], "count": 0, "has_more": False},
        rules=_rules("find_records"),
    ),
    ActionType(
        "delete_record", ActionKind.LOCAL, "Delete a record", "Deletes a record.",
        DeleteRecordConfig, {"collection": "deals", "id": "{{ event.data.record.id }}"},
        output={"id": _RECORD["id"], "collection": "deals", "deleted": True},
        rules=_rules("delete_record"),
    ),
    ActionType(
        "add_tag", ActionKind.LOCAL, "Add a tag", "Adds tags to a record; those that it has stay.",
        AddTagConfig, {"collection": "leads", "id": "{{ event.data.record.id }}", "tag": "hot"}, output=_RECORD,
        rules=_rules("add_tag"),
    ),
    ActionType(
        "create_task", ActionKind.LOCAL, "Create a task", "Stores a new record in `tasks`.",
        CreateTaskConfig, {"title": "Call {{ deal_title }}", "due_date": "+3 days"}, output=_RECORD,
        rules=_rules("create_task"),
    ),
    ActionType(
        "create_deal", ActionKind.LOCAL, "Create a deal", "Stores a new record in `deals`.",
        CreateDealConfig, {"title": "{{ input.company }}", "amount": "{{ input.amount }}"}, output=_RECORD,
        rules=_rules("create_deal"),
    ),
    ActionType(
        "update_lead", ActionKind.LOCAL, "Update a lead", "Changes a record in `leads`.",
        UpdateLeadConfig, {"id": "{{ event.data.record.id }}", "status": "contacted"}, output=_RECORD,
        rules=_rules("update_lead"),
    ),
)  # fmt: skip

IN_APP_RULES: Rules = _rules("send_notification")
"""For a notification inside of the product, which is local too."""
