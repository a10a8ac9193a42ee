"""Random workflow definitions: actions with needs, guards, delays, retries, branches and loops in each other."""

from random import Random
from typing import Any

_GUARDS: tuple[dict[str, Any], ...] = ({}, {}, {}, {}, {"if": False}, {"if": "{{ input.n > 1 }}"})
_ON_ERROR = ("stop", "continue", "continue")


def random_actions(chance: Random, depth: int = 0) -> list[dict[str, Any]]:
    """A list of one to five actions; deeper lists are shorter."""
    actions: list[dict[str, Any]] = []
    for _ in range(chance.randint(1, 5 - 2 * depth if depth < 2 else 1)):
        actions.append(_random_action(chance, depth, actions))
    for index, action in enumerate(actions[:-1]):
        if chance.random() < 0.1:
            action["on_error"] = "goto:" + chance.choice(actions[index + 1 :])["key"]
    return actions


def _random_action(chance: Random, depth: int, before: list[dict[str, Any]]) -> dict[str, Any]:
    key = f"a{chance.getrandbits(40):010x}"
    action: dict[str, Any] = {"key": key, "on_error": chance.choice(_ON_ERROR), **chance.choice(_GUARDS)}
    if before and chance.random() < 0.3:
        action["needs"] = [one["key"] for one in chance.sample(before, chance.randint(0, len(before)))]
    if chance.random() < 0.1:
        action["delay_seconds"] = chance.choice((1, 5, 86_400))
    kinds = ["log", "http_request", "http_request", "fail", "set_variables", "wait"]
    kind = chance.choice([*kinds, "branch", "for_each"] if depth < 2 else kinds)
    return {**action, "type": kind, **_config(kind, chance, depth)}


def _config(kind: str, chance: Random, depth: int) -> dict[str, Any]:
    match kind:
        case "log":
            return {"config": {"message": "n is {{ input.n }}"}}
        case "http_request":
            retry = {"max_attempts": chance.randint(1, 3), "backoff": "fixed", "initial_seconds": 5, "jitter": False}
            return {"config": {"url": "https://example.com"}, "retry": retry}
        case "set_variables":
            return {"config": {"values": {f"v{chance.randint(0, 2)}": chance.randint(0, 9)}}}
        case "wait":
            return {"config": {"seconds": chance.choice((0, 3, 86_400))}}
        case "branch":
            case = {"if": chance.random() < 0.5, "actions": random_actions(chance, depth + 1)}
            return {"config": {"cases": [case], "default": random_actions(chance, depth + 1)}}
        case "for_each":
            return {
                "config": {
                    "items": list(range(chance.randint(0, 3))),
                    "actions": random_actions(chance, depth + 1),
                    "concurrency": chance.randint(1, 3),
                    "on_error": chance.choice(("stop", "continue")),
                }
            }
        case _:
            return {"config": {}}
