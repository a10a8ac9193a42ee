"""What a wait for an event keeps of its run, and which events it takes for its own."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from libs.common.domain.event_match import MAX_KEPT_BYTES, kept_scope, match_faults, match_holds
from libs.common.domain.template_error import TemplateError

NOW = datetime(2031, 3, 1, 12, tzinfo=UTC)
SCOPE: dict[str, Any] = {
    "input": {"order": 7, "lines": [{"sku": "a"}, {"sku": "b"}], "secret": "x"},
    "actions": {"save": {"output": {"id": "r1", "big": "x" * 1000}, "status": "completed"}},
    "secrets": {"KEY": "hidden"},
    "event": {"data": {"order": "the event that started the run"}},
    "now": NOW,
}


def holds(match: Any, data: dict[str, Any], scope: dict[str, Any] = SCOPE) -> bool:
    """As it goes: kept as JSON when the wait begins, judged later."""
    kept = msgspec.json.decode(msgspec.json.encode(kept_scope(match, scope)))
    event = {"id": "e", "type": "paid", "data": data, "at": "2031-03-01T12:00:00Z"}
    return match_holds(msgspec.json.encode(match).decode(), kept, event, NOW)


@pytest.mark.parametrize(
    ("match", "kept"),
    [
        ("{{ event.data.order == input.order }}", {"input": {"order": 7}}),
        ("{{ event.data.id == actions.save.output.id }}", {"actions": {"save": {"output": {"id": "r1"}}}}),
        ("{{ input.lines[1].sku == event.data.sku }}", {"input": {"lines": SCOPE["input"]["lines"]}}),
        ("{{ event.data.at > now && input.order > 1 && input == input }}", {"input": SCOPE["input"]}),
        ("{{ event.data.key == secrets.KEY }}", {}),
        ("{{ input.nothing == event.data.order }}", {}),
        (
            [{"field": "event.data.order", "operator": "equals", "value": "{{ input.order }}"},
             {"any": [{"field": "actions.save.status", "operator": "equals", "value": "completed"}]}],
            {"input": {"order": 7}, "actions": {"save": {"status": "completed"}}},
        ),
    ],
)  # fmt: skip
def test_a_wait_keeps_what_its_match_names_and_no_more(match: Any, kept: dict[str, Any]) -> None:
    assert kept_scope(match, SCOPE) == kept


def test_the_event_that_comes_is_meant_not_the_one_that_started_the_run() -> None:
    assert holds("{{ event.data.order == input.order }}", {"order": 7})
    assert not holds("{{ event.data.order == input.order }}", {"order": 8})


def test_conditions_match_by_values_of_the_run() -> None:
    match = [{"field": "event.data.sku", "operator": "in", "value": "{{ input.lines.map(l, l.sku) }}"}]
    assert holds(match, {"sku": "b"})
    assert not holds(match, {"sku": "c"})


def test_a_match_that_cannot_be_judged_does_not_hold() -> None:
    assert not holds("{{ event.data.order == input.order }}", {"other": 7})
    assert not holds("{{ event.data.order == input.nothing }}", {"order": 7})
    assert not holds("{{ event.data.key == secrets.KEY }}", {"key": "hidden"})


def test_time_is_that_of_the_event() -> None:
    assert holds('{{ date == "2031-03-01" && event.data.n > 0 }}', {"n": 1}, {"date": "1999-01-01"})


def test_no_match_fits_every_event() -> None:
    assert match_holds(None, {}, {"data": {}}, NOW)


def test_what_is_kept_is_bounded() -> None:
    scope = {"input": {"text": "x" * MAX_KEPT_BYTES}}
    assert kept_scope("{{ event.data.text == input.other }}", scope) == {}
    with pytest.raises(TemplateError, match="64 KiB"):
        kept_scope("{{ event.data.text == input.text }}", scope)


@pytest.mark.parametrize(
    ("match", "paths"),
    [
        ("{{ event.data.id == input.id }}", []),
        ([{"field": "event.data.id", "operator": "exists"}], []),
        (None, []),
        ("event.data.id == input.id", ["match"]),
        ("{{ event.data.id == }}", ["match"]),
        ("{{ secrets.KEY == event.data.key }}", ["match"]),
        ([{"field": "secrets.KEY", "operator": "equals", "value": "{{ secrets.OTHER }}"}],
         ["match[0].field", "match[0].value"]),
        ([{"field": "event.data.id", "operator": "like", "value": 1}, {"any": 0}],
         ["match[0].operator", "match[1].any"]),
        (3, ["match"]),
    ],
)  # fmt: skip
def test_faults(match: Any, paths: list[str]) -> None:
    assert [fault.path for fault in match_faults(match, "match")] == paths
