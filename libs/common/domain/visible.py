"""What the templates of a run see: what the trigger brought, the results so far, and the item of a loop."""

from collections.abc import Mapping
from typing import Any

from libs.common.domain.execution import ActionStatus, Failure
from libs.common.domain.frames import Frame
from libs.common.domain.planner import Step


class Visible:
    """The scope of one run."""

    def __init__(self, names: dict[str, Any], root: Frame, variables: dict[str, Any]) -> None:
        """`names`: the scope as it is at the start; it is kept up to date."""
        self.names, self._root = names, root
        names["actions"], names["vars"] = root.results, variables

    def from_(self, frame: Frame) -> Mapping[str, Any]:
        """The scope of an action in that frame."""
        if frame is self._root:
            return self.names
        inner = frame.visible_names()
        if not inner:
            return self.names
        return {**self.names, **inner, "actions": {**self._root.results, **frame.visible_results()}}

    def keep(self, frame: Frame, step: Step, status: ActionStatus, output: Any, failure: Failure | None) -> None:
        """What became of an action is to be seen from now on."""
        error = None if failure is None else {"class": failure.error_class, "message": failure.message}
        catch = frame.catch
        catch.results[step.action.key] = {"status": status.value, "output": output, "error": error}
        if catch is self._root and status is ActionStatus.COMPLETED:
            self.names[f"action_{step.position}_result"] = output
