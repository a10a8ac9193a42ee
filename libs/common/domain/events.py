"""Events as values: a named fact with data, what it starts, and what keeps a chain of them from going on for ever.

An event that an execution raises goes on with the chain of the event that started that execution: the workflows that
led to it, oldest first. Two rules end every chain: an event at the depth of `MAX_DEPTH` starts nothing, and an event
starts no workflow that stands in its chain `MAX_REPEATS` times already.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Literal
from uuid import UUID

import msgspec

from libs.common.domain.conditions import Conditions, compile_conditions
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.scope import ENVELOPED, build_scope
from libs.common.domain.template_error import TemplateError

MAX_DEPTH = 16
MAX_REPEATS = 3
MAX_STARTS = 200
"""Executions that one event starts; the triggers beyond, the youngest, are on record as `too_many`."""
MAX_DATA_BYTES = 262_144

EventSource = Literal["api", "action", "record", "execution", "schedule", "webhook", "bus"]
Verdict = Literal["started", "no_match", "too_deep", "loop", "too_many", "told"]

_REASON_CHARACTERS = 400


class NewEvent(msgspec.Struct, frozen=True):
    """An event to be raised. `data` is the JSON text of an object; `chain`: the ids of the workflows that led to it;
    `dedupe_id`: what the sender calls it, so that sending it again within 24 hours raises nothing; `execution_id`:
    the execution that raised it.
    """

    tenant_id: UUID
    id: UUID
    type: str
    data: str
    source: EventSource
    chain: tuple[UUID, ...] = ()
    dedupe_id: str | None = None
    execution_id: UUID | None = None
    actor: str | None = None
    traceparent: str = ""

    @property
    def depth(self) -> int:
        """How many executions led to it; 0 for an event from outside."""
        return len(self.chain)


def next_chain(trigger_type: str, data: object, workflow_id: UUID) -> tuple[UUID, ...]:
    """The chain of an event that an execution raises: `trigger_type` and `data` (its stored input) say what started
    it.
    """
    chain = data.get("chain") if trigger_type in ENVELOPED and is_object(data) else None
    return (*(UUID(str(one)) for one in (chain if is_array(chain) else ())), workflow_id)


class EventTrigger(msgspec.Struct, frozen=True):
    """A trigger whose pattern fits, with what starting its workflow needs. `conditions` is JSON text."""

    tenant_id: UUID
    id: UUID
    key: str
    pattern: str
    conditions: str | None
    workflow_id: UUID
    workflow_name: str
    version: int
    tenant_slug: str


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an event at one trigger, or (`told`) at an execution that waited for it. `reason`: why nothing
    was started.
    """

    outcome: Verdict
    execution_id: UUID | None = None
    trigger_id: UUID | None = None
    trigger_key: str | None = None
    workflow_id: UUID | None = None
    reason: str | None = None


class Happening:
    """An event that happens now, in the forms in which it is stored and seen."""

    def __init__(self, event: NewEvent, at: datetime) -> None:
        self.event, self.at = event, at

    @cached_property
    def seen(self) -> dict[str, Any]:
        """What conditions see as `event`."""
        return {**self._head, "data": msgspec.json.decode(self.event.data)}

    @cached_property
    def signal(self) -> str:
        """What an action that waits is told, JSON text."""
        return _encode({**self._head, "data": msgspec.Raw(self.event.data.encode())})

    @cached_property
    def input(self) -> str:
        """The stored input of what it starts, JSON text: the event, and the chain that goes on with it."""
        chain = {"depth": self.event.depth, "chain": self.event.chain}
        return _encode({**self._head, **chain, "data": msgspec.Raw(self.event.data.encode())})

    @property
    def _head(self) -> dict[str, Any]:
        return {"id": str(self.event.id), "type": self.event.type, "at": _encode(self.at).strip('"')}

    def judge(self, trigger: EventTrigger, started: int) -> Outcome:
        """Whether it starts the trigger's workflow (then `execution_id` is still open), having started so many."""
        chain = self.event.chain
        if len(chain) >= MAX_DEPTH:
            return _refused("too_deep", trigger, f"{len(chain)} executions led to this event; the limit is {MAX_DEPTH}")
        if chain.count(trigger.workflow_id) >= MAX_REPEATS:
            return _refused("loop", trigger, f"the workflow has run {MAX_REPEATS} times in this chain of events")
        failed = None if trigger.conditions is None else self._failed_condition(trigger, trigger.conditions)
        if failed is not None:
            return _refused("no_match", trigger, failed[:_REASON_CHARACTERS])
        if started >= MAX_STARTS:
            return _refused("too_many", trigger, f"one event starts at most {MAX_STARTS} executions")
        return Outcome("started", None, trigger.id, trigger.key, trigger.workflow_id)

    def _failed_condition(self, trigger: EventTrigger, conditions: str) -> str | None:
        """The first condition that does not hold, or that this event lets nobody judge."""
        scope = self._scope(trigger)
        for text, test in _single_conditions(conditions):
            try:
                if not test.matches(scope):
                    return text
            except TemplateError as error:
                return f"{text} cannot be judged: {error.detail}"
        return None

    def _scope(self, trigger: EventTrigger) -> Mapping[str, Any]:
        scope = build_scope(
            {"id": str(trigger.id), "type": "event", "key": trigger.key},
            self.seen,
            {},
            {"id": str(trigger.workflow_id), "name": trigger.workflow_name, "version": trigger.version},
            {"id": str(trigger.tenant_id), "slug": trigger.tenant_slug},
        )
        return {**scope, "now": self.at}


def _refused(verdict: Verdict, trigger: EventTrigger, reason: str) -> Outcome:
    return Outcome(verdict, None, trigger.id, trigger.key, trigger.workflow_id, reason)


@lru_cache(maxsize=1024)
def _single_conditions(conditions: str) -> Sequence[tuple[str, Conditions]]:
    """The conditions that must all hold, each with its place and text, in order."""
    return [
        (f"{path}: {_encode(raw)}", compile_conditions(raw))
        for path, raw in _flattened(msgspec.json.decode(conditions), "conditions")
    ]


def _flattened(raw: Any, path: str) -> list[tuple[str, Any]]:
    if is_object(raw) and "all" in raw:
        return _flattened(raw["all"], f"{path}.all")
    if not is_array(raw):
        return [(path, raw)]
    return [single for index, item in enumerate(raw) for single in _flattened(item, f"{path}[{index}]")]


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
