"""Waiting to be told something: what such a wait keeps of its run, and what a signal means to the action that waits.

A wait is recorded with a state that says for what:

    {"for": "event"}       told the event                                    → its output
    {"for": "execution"}   told how the execution that it started has ended  → its output, or its failure
    {"for": "approval"}    told what somebody decided                        → its output, or `rejected`
    {"for": "doubt"}       as an approval: whether to make an attempt again of which nobody knows if it took effect
"""

from collections.abc import Mapping
from typing import Any

from libs.common.domain.event_match import kept_scope
from libs.common.domain.execution import Failure
from libs.common.domain.faults import is_object
from libs.common.domain.turns import Outcome, PastAttempt

DOUBT = "doubt"
QUESTION = {
    "title": "An attempt in doubt",
    "message": "The executor stopped during this attempt; whether it took effect is not known. Make it again?",
}
"""What is asked under `on_unknown: ask`. A yes makes the attempt again, a no fails the action."""

_TIMEOUTS = {
    "event": "no event came in time",
    "execution": "the workflow that was started did not end in time",
    "approval": "nobody decided in time",
}


def awaited(attempt: PastAttempt) -> str | None:
    """What an attempt waits to be told of; None for one that waits for a time."""
    return attempt.state.get("for") if is_object(attempt.state) else None


def is_for(attempt: PastAttempt, value: Any) -> bool:
    """Whether what somebody tells is for that attempt, not for an earlier one at the same place."""
    waits_for = awaited(attempt)
    if waits_for == "execution":
        return value["execution_id"] == attempt.state["execution_id"]
    if waits_for in ("approval", DOUBT):
        return value["id"] == attempt.state["approval_id"]
    return waits_for is not None


def context_of(config: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, Any] | None:
    """What of the run the `match` of a wait's config names, to be kept until an event comes; None without a match.
    Raises `TemplateError` when that is too much.
    """
    match = config.get("match")
    if match is None:
        return None
    return {"match": match, "scope": kept_scope(match, scope)}


def outcome_of(state: Mapping[str, Any], value: Any) -> Outcome:
    """What the action gives that waited under that state and was told that value."""
    match state["for"]:
        case "execution":
            return _of_execution(value)
        case "approval":
            return _of_decision(value, fails=state.get("on_reject") != "continue")
        case "doubt":
            return _of_decision(value, fails=True)
        case _:
            return Outcome(value)


def in_vain(state: Mapping[str, Any]) -> Outcome:
    """What the action gives that was told nothing in time."""
    return Outcome(failure=Failure("timeout", _TIMEOUTS[state["for"]]))


def _of_execution(value: Mapping[str, Any]) -> Outcome:
    if value["status"] == "completed":
        return Outcome({"execution_id": value["execution_id"], "status": "completed", "output": value["output"]})
    reason = value["error"]["message"] if value.get("error") else "no reason is known"
    return Outcome(failure=Failure("child_failed", f"execution {value['execution_id']} {value['status']}: {reason}"))


def _of_decision(value: Mapping[str, Any], *, fails: bool) -> Outcome:
    approved = value["decision"] == "approve"
    if fails and not approved:
        return Outcome(failure=Failure("rejected", value.get("comment") or "somebody said no"))
    return Outcome({"approved": approved, "comment": value.get("comment"), "actor": value.get("actor")})
