"""A workflow definition as values: triggers, ordered actions, schemas, output.

These structs hold what `validation.validate_definition` has accepted; building one by other means checks nothing.
They encode to the JSON of the API and decode from it.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from libs.common.domain.trigger import TriggerSpec

KEY_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"
MAX_DELAY_SECONDS = 366 * 86_400
MAX_RETRY_SECONDS = 30 * 86_400
MAX_EXECUTION_SECONDS = 30 * 86_400

Key = Annotated[str, msgspec.Meta(pattern=KEY_PATTERN)]
RetrySeconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_RETRY_SECONDS)]
RetryStatus = Annotated[int, msgspec.Meta(ge=100, le=599)]
RetryClass = Annotated[str, msgspec.Meta(pattern="^([a-z][a-z0-9_-]{0,63}|[1-5]xx)$")]


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a failed action is tried again. `max_attempts` counts the first one; `retry_on` empty means the defaults of
    `retry`.
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=50)] = 1
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    initial_seconds: RetrySeconds = 1
    max_seconds: RetrySeconds = 300
    jitter: bool = True
    retry_on: Annotated[tuple[RetryClass | RetryStatus, ...], msgspec.Meta(max_length=50)] = ()


class Action(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One step. `if_` (in JSON `if`) and `conditions` must both hold; `on_error` is `stop`, `continue` or
    `goto:<key>`.
    """

    key: Key
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    config: dict[str, Any] = {}
    if_: str | bool | None = msgspec.field(default=None, name="if")
    conditions: list[Any] | dict[str, Any] | None = None
    needs: Annotated[tuple[Key, ...], msgspec.Meta(max_length=100)] | None = None
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_SECONDS)] = 0
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60
    retry: RetryPolicy | None = None
    on_error: str = "stop"
    on_unknown: Literal["retry", "fail", "ask"] | None = None


class Concurrency(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How many runs with the same `key` (a template over what the trigger brought; absent: all runs of the workflow)
    are under way at once, and what becomes of one more: `queue`, `skip`, or `cancel_running` in its favour.
    """

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    policy: Literal["queue", "skip", "cancel_running"] = "queue"


class Definition(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A whole workflow. `output` is a template over the finished run; `timeout_seconds` bounds the whole execution;
    `on_failure` is the name or id of another workflow, for runs that fail; `priority` orders what waits for the
    tenant's turn, the highest first.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    description: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    enabled: bool = True
    tags: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], ...], msgspec.Meta(max_length=50)
    ] = ()
    triggers: tuple[TriggerSpec, ...] = ()
    actions: tuple[Action, ...] = ()
    input_schema: dict[str, Any] | bool | None = None
    output_schema: dict[str, Any] | bool | None = None
    output: Any = None
    concurrency: Concurrency | None = None
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=MAX_EXECUTION_SECONDS)] | None = None
    on_failure: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] | None = None


class BranchCase(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One way of a branch; it is taken when its `if` and `conditions` hold."""

    actions: tuple[Action, ...]
    if_: str | bool | None = msgspec.field(default=None, name="if")
    conditions: list[Any] | dict[str, Any] | None = None


class BranchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a `branch`: the first case that holds is run, or else `default`."""

    cases: tuple[BranchCase, ...]
    default: tuple[Action, ...] = ()


def parse_branch(config: dict[str, Any]) -> BranchConfig:
    """The typed form of the config of an accepted `branch` action."""
    return msgspec.convert(config, BranchConfig)


class ForEachConfig(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The config of a `for_each`: `actions` run once for each of `items`, `concurrency` of them at a time."""

    items: Any
    actions: tuple[Action, ...]
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    on_error: Literal["stop", "continue"] = "stop"


def parse_for_each(config: dict[str, Any]) -> ForEachConfig:
    """The typed form of the config of an accepted `for_each` action."""
    return msgspec.convert(config, ForEachConfig)


def walk_actions(definition: Definition) -> Iterator[tuple[str, Action, bool]]:
    """Every action in document order: path (`actions[1].config.cases[0].actions[0]`), action, whether it is nested."""
    yield from _walk("actions", definition.actions, nested=False)


def action_places(definition: Definition) -> list[tuple[int, str, str]]:
    """Position, key and type of every action: what its records are known by."""
    return [(place, action.key, action.type) for place, (_, action, _) in enumerate(walk_actions(definition))]


def _walk(path: str, actions: tuple[Action, ...], *, nested: bool) -> Iterator[tuple[str, Action, bool]]:
    for index, action in enumerate(actions):
        here = f"{path}[{index}]"
        yield here, action, nested
        if action.type == "branch":
            branch = parse_branch(action.config)
            for number, case in enumerate(branch.cases):
                yield from _walk(f"{here}.config.cases[{number}].actions", case.actions, nested=True)
            yield from _walk(f"{here}.config.default", branch.default, nested=True)
        elif action.type == "for_each":
            yield from _walk(f"{here}.config.actions", parse_for_each(action.config).actions, nested=True)
