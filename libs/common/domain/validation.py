"""Validation of a workflow definition: every fault with its path, or the definition.

Takes parsed JSON of any shape and never raises. What it returns is normalised: generated keys are filled in
(`action_<n>` by place in the document, nested actions included), `{"goto": key}` is written `goto:key`, and the
struct encodes to JSON that validates to the same.
"""

from collections.abc import Callable, Collection, Mapping
from math import isfinite
from typing import Any, cast

import msgspec

from libs.common.domain.action_validation import ActionReader, assign_keys, numbered
from libs.common.domain.conditions import condition_faults
from libs.common.domain.faults import is_array, is_object, struct_faults
from libs.common.domain.json_schema import schema_faults
from libs.common.domain.paths import kind_of
from libs.common.domain.secret_names import secret_uses
from libs.common.domain.templates import RESULT_NAME, template_faults, used_paths
from libs.common.domain.trigger import TriggerSpec
from libs.common.domain.trigger_validation import slug_faults, trigger_config_faults
from libs.common.domain.workflow import Concurrency, Definition
from libs.common.errors import Fault

MAX_JSON_DEPTH = 32
MAX_JSON_BYTES = 524_288
MAX_FAULTS = 500
MAX_TRIGGERS = 50
_NO_SECRETS_YET = "the conditions of a trigger are judged before there is a run, so they cannot use secrets"
_NOT_IN_KEYS = {
    "secrets": "the key stands in the open, so it cannot use secrets",
    "actions": "the key is rendered before the first action, so it cannot use what actions give",
    "vars": "the key is rendered before the first action, so it cannot use variables",
}

ConfigCheck = Callable[[dict[str, Any], str], list[Fault]]


def no_faults(config: dict[str, Any], path: str) -> list[Fault]:
    """The check of an action type that takes any config."""
    return []


def validate_definition(raw: object, action_types: Mapping[str, ConfigCheck]) -> tuple[Definition | None, list[Fault]]:
    """The definition and no faults, or None and every fault (at most 500). `action_types`: type name → check of its
    config.
    """
    faults = _json_faults(raw)
    if not faults and not is_object(raw):
        faults = [Fault("", f"a workflow must be an object, not {kind_of(raw)}")]
    if faults:
        return None, faults
    reader = _Reader(cast("dict[str, Any]", raw), action_types)
    faults = reader.faults()
    if faults:
        return None, faults[:MAX_FAULTS]
    return reader.definition(), []


class _Reader:
    """Reads one definition whose JSON is sound."""

    def __init__(self, raw: dict[str, Any], action_types: Mapping[str, ConfigCheck]) -> None:
        self.raw = raw
        self.names = _top_level_names(raw)
        self.actions_raw, self.keys = assign_keys(raw.get("actions", []))
        self.actions = ActionReader(action_types, self.names, self.keys)
        self.triggers_raw = _with_trigger_keys(raw.get("triggers", []))

    def faults(self) -> list[Fault]:
        skip = ("triggers", "actions", "input_schema", "output_schema", "output", "concurrency")
        faults = struct_faults(self.raw, Definition, "", skip=skip)
        faults += self._trigger_faults()
        faults += self.actions.list_faults(self.actions_raw, "actions")
        for name in ("input_schema", "output_schema"):
            if self.raw.get(name) is not None:
                faults += schema_faults(self.raw[name], name)
        faults += template_faults(self.raw.get("output"), "output", self.names, self.keys)
        faults += self._concurrency_faults(self.raw.get("concurrency"))
        on_failure = self.raw.get("on_failure")
        if isinstance(on_failure, str) and on_failure == self.raw.get("name"):
            faults.append(Fault("on_failure", "must name another workflow than this one"))
        return faults

    def definition(self) -> Definition:
        """The definition; only when there are no faults."""
        actions = self.actions.normalised(self.actions_raw)
        return msgspec.convert({**self.raw, "triggers": self.triggers_raw, "actions": actions}, Definition)

    def _concurrency_faults(self, concurrency: object) -> list[Fault]:
        if concurrency is None:
            return []
        faults = struct_faults(concurrency, Concurrency, "concurrency")
        key, where = concurrency.get("key") if is_object(concurrency) else None, "concurrency.key"
        if not isinstance(key, str):
            return faults
        found = template_faults(key, where, self.names, self.keys)
        if not found:
            roots = {RESULT_NAME.sub("actions", str(used[0])) for used in used_paths(key)}
            found += [Fault(where, problem) for name, problem in _NOT_IN_KEYS.items() if name in roots]
        return faults + found

    def _trigger_faults(self) -> list[Fault]:
        triggers = self.triggers_raw
        if not is_array(triggers):
            return [Fault("triggers", f"must be a list, not {kind_of(triggers)}")]
        if len(triggers) > MAX_TRIGGERS:
            return [Fault("triggers", f"a workflow has at most {MAX_TRIGGERS} triggers")]
        faults: list[Fault] = []
        seen: dict[str, int] = {}
        for index, trigger in enumerate(triggers):
            path = f"triggers[{index}]"
            faults += self._one_trigger(trigger, path)
            key = trigger.get("key") if is_object(trigger) else None
            if isinstance(key, str) and seen.setdefault(key, index) != index:
                faults.append(Fault(f"{path}.key", f"{key[:64]!r} is already the key of triggers[{seen[key]}]"))
        return faults + slug_faults(triggers)

    def _one_trigger(self, trigger: object, path: str) -> list[Fault]:
        faults = struct_faults(trigger, TriggerSpec, path, skip=("conditions",))
        if not is_object(trigger):
            return faults
        config = trigger.get("config", {})
        if is_object(config):
            faults += trigger_config_faults(trigger.get("type"), config, f"{path}.config")
        conditions, where = trigger.get("conditions"), f"{path}.conditions"
        faults += condition_faults(conditions, where, self.names, ())
        return faults + [Fault(use, _NO_SECRETS_YET) for use, name in secret_uses(conditions, where) if name]


def _with_trigger_keys(triggers: object) -> object:
    """The triggers with a key `trigger_<n>` where there is none."""
    if not is_array(triggers):
        return triggers
    taken = {trigger.get("key") for trigger in triggers if is_object(trigger) and isinstance(trigger.get("key"), str)}
    keyed: list[Any] = []
    for index, trigger in enumerate(triggers):
        if is_object(trigger) and trigger.get("key") is None:
            key = next(name for name in numbered("trigger", index) if name not in taken)
            taken.add(key)
            keyed.append({**trigger, "key": key})
        else:
            keyed.append(trigger)
    return keyed


def _top_level_names(raw: Mapping[str, Any]) -> Collection[str] | None:
    """The names that data may bring beside those of the contract: None (any) where a manual run or an event may bring
    them.
    """
    triggers = raw.get("triggers")
    kinds = [trigger.get("type") for trigger in triggers if is_object(trigger)] if is_array(triggers) else []
    if not kinds or "manual" in kinds or "event" in kinds:
        return None
    schema = raw.get("input_schema")
    properties = schema.get("properties") if is_object(schema) else None
    return frozenset(properties) if is_object(properties) else frozenset()


def _json_faults(raw: object) -> list[Fault]:
    """Faults of the JSON as such: depth, size, texts and numbers that could not be stored."""
    waiting: list[tuple[str, object, int]] = [("", raw, 1)]
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, str | float) and (problem := _scalar_problem(value)):
            return [Fault(path, problem)]
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return [Fault(path, "a whole number is out of range")]
        if not (is_object(value) or is_array(value)):
            continue
        if depth > MAX_JSON_DEPTH:
            return [Fault(path[:200], f"is nested deeper than {MAX_JSON_DEPTH}")]
        if is_array(value):
            waiting += [(f"{path}[{index}]", item, depth + 1) for index, item in enumerate(value)]
            continue
        for name, item in cast("dict[object, Any]", value).items():
            if not isinstance(name, str) or _scalar_problem(name):
                return [Fault(path, "the name of a field holds a character that cannot be stored")]
            waiting.append((f"{path}.{name}" if path else name, item, depth + 1))
    try:
        size = len(msgspec.json.encode(raw))
    except (TypeError, UnicodeEncodeError, RecursionError):
        return [Fault("", "cannot be written as JSON")]
    return [Fault("", f"is larger than {MAX_JSON_BYTES // 1024} KiB")] if size > MAX_JSON_BYTES else []


def _scalar_problem(value: str | float) -> str | None:
    if not isinstance(value, str):
        return None if isfinite(value) else "is not a finite number"
    if "\0" in value:
        return "holds the character U+0000, which cannot be stored"
    return None if value.isascii() or _encodes(value) else "holds half of a surrogate pair"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
