"""Random workflow definitions: actions with needs, guards, delays, retries, branches and loops in each other."""

from random import Random
from typing import Any, NamedTuple

_GUARDS: tuple[dict[str, Any], ...] = ({}, {}, {}, {}, {"if": False}, {"if": "{{ input.n > 1 }}"})
EVENT = "thing.done"
"""What actions and people raise."""
_ON_ERROR = ("stop", "continue", "continue")


def succeeds(key: str, iteration: int, failures: int) -> bool:
    """Whether the next attempt of an effect succeeds that failed so often: every order of things gives the same."""
    return Random(f"{key}:{iteration}:{failures}").random() < 0.6


class Style(NamedTuple):
    """What is chosen how often. `long`: the longest wait in seconds; `effects`: how many of the kinds are effects."""

    long: int = 86_400
    effects: int = 2
    talks: int = 0
    """How many are local actions and waits for somebody; without any, a doubt is simply tried again."""
    workflows: tuple[str, ...] = ()
    """What may be run by an action."""


_STYLE = Style()


def random_actions(chance: Random, style: Style = _STYLE, depth: int = 0) -> list[dict[str, Any]]:
    """A list of one to five actions; deeper lists are shorter."""
    actions: list[dict[str, Any]] = []
    for _ in range(chance.randint(1, 5 - 2 * depth if depth < 2 else 1)):
        actions.append(_random_action(chance, style, depth, actions))
    for index, action in enumerate(actions[:-1]):
        if chance.random() < 0.1:
            action["on_error"] = "goto:" + chance.choice(actions[index + 1 :])["key"]
    return actions


def _random_action(chance: Random, style: Style, depth: int, before: list[dict[str, Any]]) -> dict[str, Any]:
    key = f"a{chance.getrandbits(40):010x}"
    action: dict[str, Any] = {"key": key, "on_error": chance.choice(_ON_ERROR), **chance.choice(_GUARDS)}
    if before and chance.random() < 0.3:
        action["needs"] = [one["key"] for one in chance.sample(before, chance.randint(0, len(before)))]
    if chance.random() < 0.1:
        action["delay_seconds"] = chance.choice((1, 5, style.long))
    kinds = ["log", *["http_request"] * style.effects, "fail", "set_variables", "wait"]
    if style.talks:
        kinds += ["create_record", "emit_event", "approval", "event"] * style.talks
    if style.workflows:
        kinds += ["run_workflow"] * (2 * style.talks)
    kind = chance.choice([*kinds, "branch", "for_each"] if depth < 2 else kinds)
    if kind in ("approval", "event"):
        return {**action, "type": "wait", "config": _wait_for_somebody(kind, chance)}
    return {**action, "type": kind, **_config(kind, chance, style, depth)}


def _wait_for_somebody(kind: str, chance: Random) -> dict[str, Any]:
    config: dict[str, Any] = {} if chance.random() < 0.4 else {"timeout_seconds": chance.choice((1, 3, 10, 20))}
    if kind == "approval":
        config["approval"] = {"message": "Shall we?", "on_reject": chance.choice(("fail", "continue"))}
    else:
        config["event"] = chance.choice((EVENT, f"{EVENT[:-4]}*", "*"))
        if chance.random() < 0.5:
            config["match"] = "{{ event.data.n == workflow.version }}"
    return config


def _retry_of_children(chance: Random) -> dict[str, Any]:
    if chance.random() < 0.7:
        return {}
    policy = {"max_attempts": 2, "backoff": "fixed", "initial_seconds": chance.choice((0, 4)), "jitter": False}
    return {"retry": {**policy, "retry_on": ["timeout", "child_failed"]}}


def _config(kind: str, chance: Random, style: Style, depth: int) -> dict[str, Any]:
    match kind:
        case "log":
            return {"config": {"message": "n is {{ input.n }}"}}
        case "http_request":
            retry = {"max_attempts": chance.randint(1, 3), "backoff": "fixed", "initial_seconds": 5, "jitter": False}
            doubt = {"on_unknown": chance.choice(("retry", "fail", "ask"))} if style.talks else {}
            return {"config": {"url": "https://example.com"}, "retry": retry, **doubt}
        case "create_record":
            return {"config": {"collection": "deals", "data": {"by": "{{ execution.id }}", "n": 1}}}
        case "emit_event":
            return {"config": {"event": EVENT, "data": {"n": chance.choice((1, 1, 2))}}}
        case "run_workflow":
            config: dict[str, Any] = {"workflow": chance.choice(style.workflows), "input": {"n": 1}}
            if chance.random() < 0.25:
                config["wait"] = False
            elif chance.random() < 0.3:
                config["timeout_seconds"] = chance.choice((1, 5, 20))
            return {"config": config, **_retry_of_children(chance)}
        case "set_variables":
            return {"config": {"values": {f"v{chance.randint(0, 2)}": chance.randint(0, 9)}}}
        case "wait":
            return {"config": {"seconds": chance.choice((0, 3, style.long))}}
        case "branch":
            case = {"if": chance.random() < 0.5, "actions": random_actions(chance, style, depth + 1)}
            return {"config": {"cases": [case], "default": random_actions(chance, style, depth + 1)}}
        case "for_each":
            return {
                "config": {
                    "items": list(range(chance.randint(0, 3))),
                    "actions": random_actions(chance, style, depth + 1),
                    "concurrency": chance.randint(1, 3),
                    "on_error": chance.choice(("stop", "continue")),
                }
            }
        case _:
            return {"config": {}}
