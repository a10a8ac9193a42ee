"""Events as values: a named fact with data, what it starts, and what keeps a chain of them from going on for ever.

An event that an execution raises goes on with the chain of the event that started that execution: the workflows that
led to it, oldest first. Two rules end every chain: an event at the depth of `MAX_DEPTH` starts nothing, and an event
starts no workflow that stands in its chain `MAX_REPEATS` times already. For the end of an execution (`end_events`)
they are stricter: it starts no workflow that stands in its chain at all, and nothing when more than `MAX_ENDS` ends led
to one another.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec

from libs.common.domain.conditions import Conditions, compile_conditions
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.json_schema import instance_faults
from libs.common.domain.scope import ENVELOPED, build_scope
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import Template, compile_template
from libs.common.errors import Fault

MAX_DEPTH = 16
MAX_REPEATS = 3
MAX_ENDS = 3
ENDS_FIELD = "ends"
"""In the data of an end: how many ends led to one another, itself included."""
MAX_STARTS = 200
"""Executions that one event starts; the triggers beyond, the youngest, are on record as `too_many`."""
MAX_DATA_BYTES = 262_144

EventSource = Literal["api", "action", "record", "execution", "schedule", "webhook", "bus", "limit"]
Verdict = Literal["started", "no_match", "transform", "schema", "too_deep", "loop", "too_many", "told"]

_REASON_CHARACTERS = 400
_SHOWN_FAULTS = 10


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
    """A trigger whose pattern fits, with what starting its workflow needs. `conditions`, `transform` and the workflow's
    `input_schema` are JSON texts.
    """

    tenant_id: UUID
    id: UUID
    key: str
    pattern: str
    conditions: str | None
    workflow_id: UUID
    workflow_name: str
    version: int
    tenant_slug: str
    transform: str | None = None
    input_schema: str | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an event at one trigger, or (`told`) at an execution that waited for it. `reason`: why nothing
    was started; `faults`: of an input that does not fit the workflow's `input_schema`, at most ten.
    """

    outcome: Verdict
    execution_id: UUID | None = None
    trigger_id: UUID | None = None
    trigger_key: str | None = None
    workflow_id: UUID | None = None
    reason: str | None = None
    faults: tuple[Fault, ...] = ()


class Judged(NamedTuple):
    """What becomes of an event at a trigger; `input`: stored with the execution that it starts, JSON text."""

    outcome: Outcome
    input: str = ""


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
        return self.stored()

    def stored(self, transformed: msgspec.Raw | None = None) -> str:
        """As `input`, with the input that a transform has made."""
        stored = {**self._head, "depth": self.event.depth, "chain": self.event.chain}
        if transformed is not None:
            stored["input"] = transformed
        return _encode({**stored, "data": msgspec.Raw(self.event.data.encode())})

    @property
    def _head(self) -> dict[str, Any]:
        return {"id": str(self.event.id), "type": self.event.type, "at": _encode(self.at).strip('"')}

    def judge(self, trigger: EventTrigger, started: int) -> Judged:
        """Whether it starts the trigger's workflow (then `execution_id` is still open), having started so many.

        In this order: the chain, the conditions (over the event as it is), the number, the transform, the schema.
        """
        chain = self.event.chain
        if len(chain) >= MAX_DEPTH:
            return _refused("too_deep", trigger, f"{len(chain)} executions led to this event; the limit is {MAX_DEPTH}")
        if chain.count(trigger.workflow_id) >= MAX_REPEATS:
            return _refused("loop", trigger, f"the workflow has run {MAX_REPEATS} times in this chain of events")
        if self.event.source == "execution" and (why := self._goes_round(trigger)) is not None:
            return why
        failed = None if trigger.conditions is None else self._failed_condition(trigger, trigger.conditions)
        if failed is not None:
            return _refused("no_match", trigger, failed)
        if started >= MAX_STARTS:
            return _refused("too_many", trigger, f"one event starts at most {MAX_STARTS} executions")
        return self._with_input(trigger)

    def _goes_round(self, trigger: EventTrigger) -> Judged | None:
        """Why the end of an execution starts nothing here, if it would go round."""
        if trigger.workflow_id in self.event.chain:
            return _refused("loop", trigger, "the workflow itself led to this end")
        if self.seen["data"].get(ENDS_FIELD, 0) > MAX_ENDS:
            return _refused("too_deep", trigger, f"more than {MAX_ENDS} ends of executions led to one another")
        return None

    def _with_input(self, trigger: EventTrigger) -> Judged:
        """Started with the input that the transform makes, unless that cannot be made or does not fit the schema."""
        value, stored = self.seen["data"] if trigger.input_schema else None, self.input
        if trigger.transform is not None:
            try:
                value = _transform(trigger.transform).render(self._scope(trigger))
                stored = _transformed(self, value)
            except (TemplateError, TypeError, ValueError, RecursionError) as error:
                reason = error.detail if isinstance(error, TemplateError) else str(error)
                return _refused("transform", trigger, f"config.transform: {reason}")
        if trigger.input_schema is not None:
            faults = instance_faults(_schema(trigger.input_schema), value, "input")[:_SHOWN_FAULTS]
            if faults:
                return _refused("schema", trigger, "the input does not fit the workflow's input_schema", faults)
        return Judged(Outcome("started", None, trigger.id, trigger.key, trigger.workflow_id), stored)

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


def _refused(verdict: Verdict, trigger: EventTrigger, reason: str, faults: Sequence[Fault] = ()) -> Judged:
    reason = reason[:_REASON_CHARACTERS]
    return Judged(Outcome(verdict, None, trigger.id, trigger.key, trigger.workflow_id, reason, tuple(faults)))


def _transformed(happening: Happening, value: Any) -> str:
    """The stored input with what a transform gave. Raises `ValueError`, `TypeError` or `RecursionError`."""
    if len(encoded := msgspec.json.encode(value)) > MAX_DATA_BYTES:
        raise ValueError(f"gives more than {MAX_DATA_BYTES // 1024} KiB")
    return happening.stored(msgspec.Raw(encoded))


@lru_cache(maxsize=1024)
def _transform(raw: str) -> Template:
    return compile_template(msgspec.json.decode(raw))


@lru_cache(maxsize=256)
def _schema(raw: str) -> dict[str, Any] | bool:
    return msgspec.json.decode(raw)


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
