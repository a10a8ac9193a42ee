"""Names and patterns of events, what an event starts and why it does not, and the end of every chain."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.event_names import NAME, is_pattern, patterns_for
from libs.common.domain.events import (
    MAX_DEPTH,
    MAX_REPEATS,
    MAX_STARTS,
    EventTrigger,
    Happening,
    NewEvent,
    Outcome,
    next_chain,
)
from libs.common.domain.scope import build_scope
from libs.common.domain.trigger_validation import trigger_config_faults

TENANT, EVENT, WORKFLOW, OTHER = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)
AT = datetime(2031, 3, 1, 12, tzinfo=UTC)


def happening(data: Any = None, **more: Any) -> Happening:
    event = NewEvent(TENANT, EVENT, "deal_created", msgspec.json.encode(data or {}).decode(), "api", **more)
    return Happening(event, AT)


def trigger(conditions: Any = None, workflow: UUID = WORKFLOW) -> EventTrigger:
    text = None if conditions is None else msgspec.json.encode(conditions).decode()
    return EventTrigger(TENANT, UUID(int=9), "deal", "deal_*", text, workflow, "Deals", 4, "acme")


def test_the_patterns_of_a_name() -> None:
    assert patterns_for("deal") == ("deal", "*")
    assert patterns_for("deal_stage.changed") == ("deal_stage.changed", "*", "deal_*", "deal_stage.*")


@given(st.from_regex(NAME, fullmatch=True))
def test_every_pattern_of_a_name_is_one_and_fits(name: str) -> None:
    for pattern in patterns_for(name):
        assert is_pattern(pattern)
        assert pattern == name or name.startswith(pattern.removesuffix("*"))


@pytest.mark.parametrize("pattern", ["deal", "deal.*", "deal_*", "deal:won-*", "*", "a" * 128])
def test_patterns_of_a_trigger(pattern: str) -> None:
    assert trigger_config_faults("event", {"event": pattern}, "config") == []


@pytest.mark.parametrize(
    "pattern", ["", "de*l", "deal*", "**", "*.created", ".*", "9", "deal created", "deal\n", "a" * 129]
)
def test_what_is_no_pattern(pattern: str) -> None:
    assert [fault.path for fault in trigger_config_faults("event", {"event": pattern}, "config")] == ["config.event"]


def test_it_starts_what_has_no_conditions_or_holds_them() -> None:
    amount = [{"field": "event.data.amount", "operator": "greater_than", "value": 10},
              {"field": "amount", "operator": "exists"}]  # fmt: skip
    for conditions in (None, [], amount):
        outcome = happening({"amount": 11}).judge(trigger(conditions), 0).outcome
        assert outcome == Outcome("started", None, UUID(int=9), "deal", WORKFLOW)


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ([{"field": "stage", "operator": "exists"}, {"field": "amount", "operator": "equals", "value": 2}],
         'conditions[1]: {"field":"amount","operator":"equals","value":2}'),
        ({"all": [{"all": [{"field": "lost", "operator": "exists"}]}]},
         'conditions.all[0].all[0]: {"field":"lost","operator":"exists"}'),
        ({"any": [{"field": "lost", "operator": "exists"}]},
         'conditions: {"any":[{"field":"lost","operator":"exists"}]}'),
        ([{"field": "stage", "operator": "equals", "value": "{{ event.data.lost }}"}],
         'conditions[0]: {"field":"stage","operator":"equals","value":"{{ event.data.lost }}"} cannot be judged: '
         "event.data.lost: event.data has no 'lost'"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_named(conditions: Any, reason: str) -> None:
    outcome = happening({"stage": "won", "amount": 1}).judge(trigger(conditions), 0).outcome
    assert (outcome.outcome, outcome.execution_id) == ("no_match", None)
    assert outcome.reason is not None
    assert outcome.reason.startswith(reason)


def test_a_chain_ends_by_its_depth() -> None:
    others = tuple(UUID(int=100 + n) for n in range(MAX_DEPTH))
    assert happening(chain=others[:-1]).judge(trigger(), 0).outcome.outcome == "started"
    assert happening(chain=others).judge(trigger(), 0).outcome.outcome == "too_deep"


def test_a_chain_ends_by_going_in_a_circle() -> None:
    circle = (WORKFLOW, OTHER) * MAX_REPEATS
    assert happening(chain=circle[2:]).judge(trigger(), 0).outcome.outcome == "started"
    assert happening(chain=circle).judge(trigger(), 0).outcome.outcome == "loop"
    assert happening(chain=circle).judge(trigger(workflow=UUID(int=5)), 0).outcome.outcome == "started"


def test_one_event_starts_so_many_and_says_of_the_rest() -> None:
    assert happening().judge(trigger(), MAX_STARTS - 1).outcome.outcome == "started"
    assert happening().judge(trigger(), MAX_STARTS).outcome.outcome == "too_many"


def test_a_transform_makes_the_input_and_the_schema_is_its_judge() -> None:
    schema = '{"required": ["sum"], "properties": {"sum": {"maximum": 20}}}'
    shaped = msgspec.structs.replace(
        trigger(), transform='{"sum": "{{ event.data.amount * 2 }}", "of": "{{ title }}"}', input_schema=schema
    )
    outcome, stored = happening({"amount": 10, "title": "Big"}).judge(shaped, 0)
    assert outcome.outcome == "started"
    brought = msgspec.json.decode(stored)
    assert (brought["input"], brought["data"]) == ({"sum": 20, "of": "Big"}, {"amount": 10, "title": "Big"})
    scope = build_scope({"type": "event"}, brought, {}, {}, {})
    assert (scope["input"], scope["of"], "title" in scope) == (brought["input"], "Big", False)
    assert scope["event"]["data"]["amount"] == 10
    outcome, _ = happening({"amount": 11, "title": "Big"}).judge(shaped, 0)
    assert (outcome.outcome, [fault.path for fault in outcome.faults]) == ("schema", ["input.sum"])
    outcome, _ = happening({"amount": 11}).judge(shaped, 0)
    assert (outcome.outcome, outcome.faults) == ("transform", ())
    assert outcome.reason is not None
    assert outcome.reason.startswith("config.transform: title")
    assert happening({"amount": 11}).judge(msgspec.structs.replace(trigger(), input_schema=schema), 0)[0].faults


def test_what_a_transform_may_not_name_or_make() -> None:
    bad = {"event": "deal", "transform": {"a": "{{ secrets.KEY }}", "b": "{{ actions.x.output }}", "c": "{{ title }}"}}
    found = [(fault.path, fault.message.split()[0]) for fault in trigger_config_faults("event", bad, "config")]
    assert found == [("config.transform", "actions"), ("config.transform", "secrets")]
    broken = trigger_config_faults("event", {"event": "deal", "transform": {"a": "{{ 1 + }}"}}, "config")
    assert [fault.path for fault in broken] == ["config.transform.a"]
    large = msgspec.structs.replace(trigger(), transform='["{{ event.data.text }}", "{{ event.data.text }}"]')
    outcome, _ = happening({"text": "x" * 200_000}).judge(large, 0)
    assert (outcome.outcome, outcome.reason) == ("transform", "config.transform: gives more than 256 KiB")


def test_the_chain_goes_on_through_the_stored_input() -> None:
    first = next_chain("manual", {"chain": ["not ours: what somebody sent"]}, OTHER)
    assert first == (OTHER,)
    data = msgspec.json.decode(happening(chain=first).input)
    assert (data["depth"], next_chain("event", data, WORKFLOW)) == (1, (OTHER, WORKFLOW))


def test_the_names_that_a_run_sees() -> None:
    data = msgspec.json.decode(happening({"deal_title": "Big", "event": "no"}).input)
    scope = build_scope({"type": "event"}, data, {}, {}, {})
    assert (scope["deal_title"], scope["input"]) == ("Big", {"deal_title": "Big", "event": "no"})
    assert scope["event"]["data"] == scope["input"]
    assert (scope["event"]["type"], scope["event"]["at"]) == ("deal_created", "2031-03-01T12:00:00Z")


def test_a_signal_has_the_event_to_the_letter() -> None:
    event = NewEvent(TENANT, EVENT, "n", '{"n":  1.50}', "api")
    assert (
        Happening(event, AT).signal
        == f'{{"id":"{EVENT}","type":"n","at":"2031-03-01T12:00:00Z","data":{{"n":  1.50}}}}'
    )
