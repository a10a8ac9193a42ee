"""Configs of the actions that steer a run or only compute, as a definition holds them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from libs.common.errors import Fault


class SetVariablesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`values`: names to values; later actions read them as `vars.<name>`."""

    values: Annotated[dict[str, Any], Meta(description="names to values")]


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`message`: text for the record of this run."""

    message: Annotated[Any, Meta(description="what to write down; any value")]
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="how serious it is")] = "info"


class FailConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`message`: why the run ends as failed."""

    message: Annotated[Any, Meta(description="why the run ends as failed")] = "failed by the workflow"


class BranchCaseShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case: the first whose `if` and `conditions` hold is taken."""

    actions: Annotated[list[Any], Meta(description="what is done then")]
    if_: Annotated[str | bool | None, Meta(description="a template that gives true or false")] = msgspec.field(
        name="if", default=None
    )
    conditions: Annotated[Any, Meta(description="conditions, as on an action")] = None


class BranchShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cases` in order, else `default`."""

    cases: Annotated[list[BranchCaseShape], Meta(description="in order; the first that holds is taken")]
    default: Annotated[list[Any], Meta(description="actions for when none holds")] = []


class ForEachShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`actions` run once for each of `items`, with `item` and `index`; `concurrency` iterations at a time."""

    items: Annotated[Any, Meta(description="a list, at most 10 000 long")]
    actions: Annotated[list[Any], Meta(description="what is done with each; `item` and `index` are known inside")]
    concurrency: Annotated[int, Meta(ge=1, le=100, description="iterations at a time")] = 1
    on_error: Annotated[Literal["stop", "continue"], Meta(description="whether a failure ends the loop")] = "stop"


class ApprovalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody is asked. `on_reject`: whether a no fails the action or is an output like any other."""

    message: Annotated[Any, Meta(description="what is asked")]
    title: Annotated[Any, Meta(description="a short heading")] = ""
    on_reject: Annotated[Literal["fail", "continue"], Meta(description="what a no does")] = "fail"


class WaitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of: `seconds` from now; `until` a time of RFC 3339 or a shift such as `+3 days`; the next `event` of that
    name for which `match` holds; an `approval`. The last two at most for `timeout_seconds`.
    """

    seconds: Annotated[Any, Meta(description="how long")] = None
    until: Annotated[Any, Meta(description="a time of RFC 3339, or a shift such as `+3 days`")] = None
    event: Annotated[str | None, Meta(description="name of an event, or a pattern such as `deal.*`")] = None
    match: Annotated[Any, Meta(description="a template or conditions over `event` that must hold")] = None
    approval: Annotated[ApprovalConfig | None, Meta(description="what somebody is asked")] = None
    timeout_seconds: Annotated[Any, Meta(description="how long at most; then it fails with `timeout`")] = None


def wait_rules(config: dict[str, Any], path: str) -> list[Fault]:
    """What the fields of a `wait` alone cannot say."""
    reasons = [name for name in ("seconds", "until", "event", "approval") if config.get(name) is not None]
    if len(reasons) != 1:
        return [Fault(path, "needs one of seconds, until, event and approval")]
    allowed = {"event": ("match", "timeout_seconds"), "approval": ("timeout_seconds",)}.get(reasons[0], ())
    return [
        Fault(f"{path}.{name}", f"is of no use beside {reasons[0]}")
        for name in ("match", "timeout_seconds")
        if config.get(name) is not None and name not in allowed
    ]


def waits_for_somebody(config: Mapping[str, Any]) -> bool:
    """Whether a `wait` ends when it is told something, not at a time."""
    return config.get("event") is not None or config.get("approval") is not None


class RunWorkflowConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`workflow` is run with `input`; with `wait` its output is ours, and its failure too."""

    workflow: Annotated[str, Meta(description="id or name of a workflow of the tenant", min_length=1, max_length=200)]
    input: Annotated[dict[str, Any], Meta(description="its input")] = {}
    wait: Annotated[bool, Meta(description="whether to wait until it has ended")] = True
    timeout_seconds: Annotated[Any, Meta(description="how long to wait at most; it runs on")] = None


class EmitEventConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Raises an event."""

    event: Annotated[str, Meta(description="its name, such as `deal.won`", min_length=1, max_length=200)]
    data: Annotated[dict[str, Any], Meta(description="what it says")] = {}


class RespondConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller who waits is answered."""

    status: Annotated[int, Meta(description="HTTP status", ge=200, le=599)] = 200
    headers: Annotated[dict[str, str], Meta(description="HTTP headers")] = {}
    body: Annotated[Any, Meta(description="JSON, or a text")] = None
