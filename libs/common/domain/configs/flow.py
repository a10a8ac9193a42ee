"""Configs of the actions that steer a run or only compute, as a definition holds them."""

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


class WaitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of: `seconds` from now; `until` a time of RFC 3339 or a shift such as `+3 days`."""

    seconds: Annotated[Any, Meta(description="how long")] = None
    until: Annotated[Any, Meta(description="a time of RFC 3339, or a shift such as `+3 days`")] = None


def wait_rules(config: dict[str, Any], path: str) -> list[Fault]:
    """What the fields of a `wait` alone cannot say."""
    return [] if len(config) == 1 else [Fault(path, "needs one of seconds and until")]
