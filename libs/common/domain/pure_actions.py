"""What the pure action types do: rendered config in, output out. The same input gives the same output, always."""

from collections.abc import Callable, Mapping
from typing import Any

from libs.common.domain.execution import Failure
from libs.common.domain.faults import is_object

_LEAST_STATUS, _MOST_STATUS = 200, 599


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


def _respond(config: Mapping[str, Any]) -> Any:
    status, headers = config.get("status", 200), config.get("headers", {})
    if not isinstance(status, int) or not _LEAST_STATUS <= status <= _MOST_STATUS:
        raise ActionFailed(Failure("invalid_config", "status must be a whole number from 200 to 599"))
    if not is_object(headers):
        raise ActionFailed(Failure("invalid_config", "headers must be an object"))
    return {"status": status, "headers": headers, "body": config.get("body")}


_ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "set_variables": _set_variables,
    "log": _log,
    "fail": _fail,
    "respond": _respond,
}
