"""Loops and waits in a definition: every fault of what is inside with its path, and what is kept validates again."""

from typing import Any

import msgspec
import pytest

from libs.common.domain.catalogue import checkers
from libs.common.domain.validation import validate_definition

LOG = {"type": "log", "config": {"message": "{{ item }} of {{ index }}"}}


def loop(*actions: Any, **config: Any) -> dict[str, Any]:
    return {"type": "for_each", "config": {"items": [1, 2], "actions": list(actions), **config}}


def faults(*actions: Any) -> dict[str, str]:
    _, found = validate_definition({"name": "n", "actions": list(actions)}, checkers())
    return {fault.path: fault.message for fault in found}


def test_actions_in_a_loop_get_keys_and_are_kept_as_they_validate() -> None:
    definition, found = validate_definition({"name": "n", "actions": [loop(LOG, loop(LOG)), LOG]}, checkers())
    assert (found, definition is not None) == ([], True)
    stored = msgspec.json.decode(msgspec.json.encode(definition))
    inner = stored["actions"][0]["config"]["actions"]
    assert [stored["actions"][0]["key"], inner[0]["key"], inner[1]["key"], stored["actions"][1]["key"]] == [
        "action_0", "action_1", "action_2", "action_4",
    ]  # fmt: skip
    assert validate_definition(stored, checkers()) == (definition, [])


@pytest.mark.parametrize(
    ("action", "path", "said"),
    [
        ({"type": "for_each", "config": {"items": []}}, "actions[0].config.actions", "is required"),
        ({"type": "for_each", "config": {"actions": []}}, "actions[0].config.items", "is required"),
        (loop({"type": "nonsense"}), "actions[0].config.actions[0].type", "unknown action type"),
        (loop(LOG, concurrency=0), "actions[0].config.concurrency", "expected"),
        (loop(LOG, on_error="maybe"), "actions[0].config.on_error", "must be one of"),
        (loop({**LOG, "needs": ["x"]}), "actions[0].config.actions[0].needs[0]", "there is no action"),
        (loop(LOG, items="{{ 1 + }}"), "actions[0].config.items", "template"),
        (loop(loop(loop(LOG))), "actions[0].config.actions[0].config.actions[0].config.actions", "nested 2 deep"),
        ({"type": "wait", "config": {}}, "actions[0].config", "needs one of"),
        ({"type": "wait", "config": {"seconds": 1, "until": "+1 day"}}, "actions[0].config", "needs one of"),
    ],
)
def test_every_fault_has_its_path(action: Any, path: str, said: str) -> None:
    found = faults(action)
    assert said in found.get(path, f"no fault at {path}: {found}")


def test_a_key_is_unique_across_loops() -> None:
    found = faults({**LOG, "key": "same"}, loop({**LOG, "key": "same"}))
    assert found == {"actions[1].config.actions[0].key": "'same' is already the key of actions[0]"}
