"""What the pure action types do: rendered config in, output out. The same input gives the same output, always."""

from collections.abc import Callable, Mapping
from typing import Any

from libs.common.domain.execution import Failure


class ActionFailed(Exception):
    """The action has failed; `failure` is what stands in its record."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def run_pure(type_name: str, config: Mapping[str, Any]) -> Any:
    """Run a pure action. Raises `ActionFailed`."""
    return _ACTIONS[type_name](config)


def _set_variables(config: Mapping[str, Any]) -> Any:
    return config["values"]


def _log(config: Mapping[str, Any]) -> Any:
    return {"level": config.get("level", "info"), "message": config["message"]}


def _fail(config: Mapping[str, Any]) -> Any:
    raise ActionFailed(Failure("failed", str(config.get("message", "failed by the workflow"))))


_ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "set_variables": _set_variables,
    "log": _log,
    "fail": _fail,
}
