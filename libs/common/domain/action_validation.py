"""Faults of the actions of a definition, nested ones included, and the form in which they are kept.

Works on raw JSON that is sound as JSON; `validation` puts it to use.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from libs.common.domain.catalogue import CATALOGUE, ActionKind
from libs.common.domain.conditions import condition_faults
from libs.common.domain.event_match import match_faults
from libs.common.domain.faults import is_array, is_object, struct_faults
from libs.common.domain.paths import kind_of, near_names
from libs.common.domain.templates import template_faults
from libs.common.domain.workflow import Action, RetryPolicy
from libs.common.errors import Fault

MAX_ACTIONS = 500
BRANCH = "branch"
FOR_EACH = "for_each"
WAIT = "wait"
MAX_LOOP_DEPTH = 2


def numbered(word: str, start: int) -> Iterator[str]:
    """`word_<start>`, `word_<start + 1>` …"""
    number = start
    while True:
        yield f"{word}_{number}"
        number += 1


def assign_keys(actions: object) -> tuple[object, frozenset[str]]:
    """The actions with a key `action_<n>` where there is none, n the place in the document from 0; and all keys."""
    taken = {key for action in _every(actions) if isinstance(key := action.get("key"), str)}
    counter = iter(range(1_000_000))
    return _keyed(actions, taken, counter), frozenset(taken)


def _every(actions: object) -> Iterator[dict[str, Any]]:
    """Every action of a list of actions, nested ones included, in document order."""
    for action in actions if is_array(actions) else ():
        if is_object(action):
            yield action
            for inner in _nested(action):
                yield from _every(inner)


def _nested(action: Mapping[str, Any]) -> list[Any]:
    """The lists of actions inside a branch or a loop."""
    config = action.get("config")
    if not is_object(config):
        return []
    if action.get("type") == FOR_EACH:
        return [config.get("actions")]
    if action.get("type") != BRANCH:
        return []
    cases = config.get("cases")
    return [case.get("actions") for case in (cases if is_array(cases) else ()) if is_object(case)] + [
        config.get("default")
    ]


def _keyed(actions: object, taken: set[str], counter: Iterator[int]) -> object:
    if not is_array(actions):
        return actions
    return [_keyed_action(action, taken, counter) if is_object(action) else action for action in actions]


def _keyed_action(action: dict[str, Any], taken: set[str], counter: Iterator[int]) -> dict[str, Any]:
    place = next(counter)
    if action.get("key") is None:
        key = next(name for name in numbered("action", place) if name not in taken)
        taken.add(key)
        action = {"key": key, **{name: value for name, value in action.items() if name != "key"}}
    return _map_nested(action, lambda actions: _keyed(actions, taken, counter))


def _map_nested(action: dict[str, Any], change: Callable[[object], object]) -> dict[str, Any]:
    """The action with `change` done to each list of actions inside it."""
    config = action.get("config")
    if action.get("type") not in (BRANCH, FOR_EACH) or not is_object(config):
        return action
    config = dict(config)
    if action.get("type") == FOR_EACH:
        return {**action, "config": {**config, "actions": change(config["actions"])}} if "actions" in config else action
    if is_array(config.get("cases")):
        config["cases"] = [
            {**case, "actions": change(case["actions"])} if is_object(case) and "actions" in case else case
            for case in config["cases"]
        ]
    if "default" in config:
        config["default"] = change(config["default"])
    return {**action, "config": config}


def goto_of(on_error: object) -> str | None:
    """The key that `on_error` jumps to, if it does."""
    if is_object(on_error) and set(on_error) == {"goto"} and isinstance(on_error["goto"], str):
        return on_error["goto"]
    if isinstance(on_error, str) and on_error.startswith("goto:"):
        return on_error.removeprefix("goto:")
    return None


class ActionReader:
    """Judges and normalises lists of actions of one definition. `keys` are all keys; `names` as in templates."""

    def __init__(
        self,
        action_types: Mapping[str, Callable[[dict[str, Any], str], list[Fault]]],
        names: Collection[str] | None,
        keys: Collection[str],
    ) -> None:
        self.types, self.names, self.keys = action_types, names, keys
        self.seen: dict[str, str] = {}
        self.count = 0
        self.loops = 0

    def normalised(self, actions: Any) -> list[Any]:
        """Faultless actions as they are kept."""
        return [self._normalised_action(action) for action in actions]

    def _normalised_action(self, action: dict[str, Any]) -> dict[str, Any]:
        if (target := goto_of(action.get("on_error"))) is not None:
            action = {**action, "on_error": f"goto:{target}"}
        if action["type"] not in (BRANCH, FOR_EACH):
            return action
        return _map_nested(action, lambda nested: [_plain_action(item) for item in self.normalised(nested)])

    def list_faults(self, actions: object, path: str) -> list[Fault]:
        """Every fault of a list of actions."""
        if not is_array(actions):
            return [Fault(path, f"must be a list of actions, not {kind_of(actions)}")]
        faults: list[Fault] = []
        siblings = [action.get("key") if is_object(action) else None for action in actions]
        for index, action in enumerate(actions):
            self.count += 1
            if self.count > MAX_ACTIONS:
                return (
                    [*faults, Fault(path, f"a workflow has at most {MAX_ACTIONS} actions")]
                    if self.count == MAX_ACTIONS + 1
                    else faults
                )
            here = f"{path}[{index}]"
            faults += self._action_faults(action, here)
            if is_object(action):
                faults += self._order_faults(action, here, actions, siblings, index)
        return faults

    def _action_faults(self, action: object, path: str) -> list[Fault]:
        faults = struct_faults(action, Action, path, skip=("conditions", "on_error", "retry"))
        if not is_object(action):
            return faults
        if action.get("retry") is not None:
            faults += struct_faults(action["retry"], RetryPolicy, f"{path}.retry")
        faults += self._key_faults(action.get("key"), path)
        faults += self._type_faults(action, path)
        faults += _doubt_faults(action, path)
        faults += template_faults(action.get("if"), f"{path}.if", self.names, self.keys)
        return faults + condition_faults(action.get("conditions"), f"{path}.conditions", self.names, self.keys)

    def _key_faults(self, key: object, path: str) -> list[Fault]:
        if not isinstance(key, str) or self.seen.setdefault(key, path) == path:
            return []
        return [Fault(f"{path}.key", f"{key[:64]!r} is already the key of {self.seen[key]}")]

    def _type_faults(self, action: dict[str, Any], path: str) -> list[Fault]:
        kind, config, where = action.get("type"), action.get("config", {}), f"{path}.config"
        if not isinstance(kind, str) or not is_object(config):
            return []
        if kind not in self.types:
            return [Fault(f"{path}.type", f"unknown action type {kind[:64]!r}{near_names(kind[:64], self.types)}")]
        if kind == BRANCH:
            return self._branch_faults(config, where)
        if kind == FOR_EACH:
            return self._loop_faults(config, where)
        rendered = config
        faults = self.types[kind](config, where)
        if kind == WAIT and "match" in config:
            rendered = {name: value for name, value in config.items() if name != "match"}
            faults += match_faults(config["match"], f"{where}.match", self.names, self.keys)
        return faults + template_faults(rendered, where, self.names, self.keys)

    def _loop_faults(self, config: dict[str, Any], path: str) -> list[Fault]:
        faults = self.types[FOR_EACH](config, path)
        faults += template_faults(config.get("items"), f"{path}.items", self.names, self.keys)
        if "actions" not in config:
            return faults
        if self.loops == MAX_LOOP_DEPTH:
            return [*faults, Fault(f"{path}.actions", f"loops may be nested {MAX_LOOP_DEPTH} deep")]
        self.loops += 1
        faults += self.list_faults(config["actions"], f"{path}.actions")
        self.loops -= 1
        return faults

    def _branch_faults(self, config: dict[str, Any], path: str) -> list[Fault]:
        faults = [
            Fault(f"{path}.{name[:64]}", "is not a known field") for name in config if name not in ("cases", "default")
        ]
        cases = config.get("cases")
        if not is_array(cases) or not cases:
            faults.append(Fault(f"{path}.cases", "must be a list of at least one case"))
        else:
            for number, case in enumerate(cases):
                faults += self._case_faults(case, f"{path}.cases[{number}]")
        if "default" in config:
            faults += self.list_faults(config["default"], f"{path}.default")
        return faults

    def _case_faults(self, case: object, path: str) -> list[Fault]:
        if not is_object(case):
            return [Fault(path, f"must be an object, not {kind_of(case)}")]
        faults = [Fault(f"{path}.{name[:64]}", "is not a known field") for name in case if name not in _CASE_FIELDS]
        test = case.get("if")
        if test is not None and not isinstance(test, str | bool):
            faults.append(Fault(f"{path}.if", "must be a template or a boolean"))
        if test is None and not case.get("conditions"):
            faults.append(Fault(path, "needs if or conditions; what is done otherwise belongs into default"))
        faults += template_faults(test, f"{path}.if", self.names, self.keys)
        faults += condition_faults(case.get("conditions"), f"{path}.conditions", self.names, self.keys)
        if "actions" not in case:
            return [*faults, Fault(f"{path}.actions", "is required")]
        return faults + self.list_faults(case["actions"], f"{path}.actions")

    def _order_faults(
        self, action: dict[str, Any], path: str, actions: list[Any], siblings: list[Any], index: int
    ) -> list[Fault]:
        faults = self._on_error_faults(action, path, siblings, index)
        needs = action.get("needs")
        for number, need in enumerate(needs if is_array(needs) else ()):
            problem = self._need_problem(need, actions, siblings, index) if isinstance(need, str) else None
            if problem:
                faults.append(Fault(f"{path}.needs[{number}]", problem))
        return faults

    def _need_problem(self, need: str, actions: list[Any], siblings: list[Any], index: int) -> str | None:
        if need == siblings[index]:
            return "an action cannot need itself"
        if need in siblings[:index]:
            return None
        if need not in siblings:
            if need in self.keys:
                return f"{need[:64]!r} stands in another list of actions"
            return f"there is no action {need[:64]!r}{near_names(need[:64], self.keys)}"
        if _reaches(need, siblings[index], actions):
            return f"{need[:64]!r} needs this action in turn: a cycle"
        return f"{need[:64]!r} must stand before this action"

    def _on_error_faults(self, action: dict[str, Any], path: str, siblings: list[Any], index: int) -> list[Fault]:
        on_error, where = action.get("on_error", "stop"), f"{path}.on_error"
        if on_error in ("stop", "continue"):
            return []
        target = goto_of(on_error)
        if target is None:
            return [Fault(where, 'must be "stop", "continue" or {"goto": "<key>"}')]
        if target in siblings[index + 1 :]:
            return []
        if target in siblings:
            return [Fault(where, f"goes to {target[:64]!r}, which does not stand after this action")]
        return [Fault(where, f"goes to {target[:64]!r}, which is no action of this list")]


_CASE_FIELDS = ("if", "conditions", "actions")


def _doubt_faults(action: Mapping[str, Any], path: str) -> list[Fault]:
    """Nobody can be asked about an action that is never in doubt: one without an effect outside."""
    kind = action.get("type")
    known = CATALOGUE.get(kind) if isinstance(kind, str) else None
    if action.get("on_unknown") != "ask" or known is None or known.kind is ActionKind.EFFECT:
        return []
    return [Fault(f"{path}.on_unknown", f"a {known.name} has no effect outside, so there is nothing to ask about")]


def _plain_action(raw: dict[str, Any]) -> Any:
    """An action in the JSON form that it has when it is stored: defaults left out, numbers of the right kind."""
    return msgspec.json.decode(msgspec.json.encode(msgspec.convert(raw, Action)))


def _reaches(start: str, goal: object, actions: list[Any]) -> bool:
    """Whether following `needs` among siblings leads from `start` to `goal`."""
    needs = {
        action.get("key"): action.get("needs")
        for action in actions
        if is_object(action) and isinstance(action.get("key"), str)
    }
    waiting, visited = [start], set[str]()
    while waiting:
        key = waiting.pop()
        if key == goal:
            return True
        if key not in visited:
            visited.add(key)
            listed = needs.get(key)
            waiting += [need for need in (listed if is_array(listed) else ()) if isinstance(need, str)]
    return False
