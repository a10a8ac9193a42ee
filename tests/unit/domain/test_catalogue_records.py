"""Definitions with actions on the tenant's own data: what is wrong with a config before it is rendered."""

from typing import Any

import pytest

from libs.common.domain.catalogue import CATALOGUE, ActionKind
from libs.common.domain.catalogue_records import RECORD_TYPES

ID = "0190f3a1-7a3e-7b3e-8f5e-1b2c3d4e5f60"

BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("create_record", {}, ["collection", "data"]),
    ("create_record", {"collection": "a b", "data": {"x": "\0"}, "tags": [""]}, ["collection", "data.x", "tags[0]"]),
    ("create_record", {"collection": "a b", "data": {"x": "{{ input.x }}"}}, ["collection"]),
    ("create_record", {"collection": "a", "data": [1]}, ["data"]),
    ("create_record", {"collection": "a", "data": "x"}, ["data"]),
    ("create_record", {"collection": "a", "data": {}, "id": ID}, ["id"]),
    ("update_record", {"collection": "a", "id": "1"}, ["data", "id"]),
    ("update_record", {"collection": "a", "id": ID, "field": "a..b"}, ["field"]),
    ("update_record", {"collection": "a", "id": ID, "data": {}, "version": 0}, ["version"]),
    ("find_records", {"collection": "a", "limit": 0}, ["limit"]),
    ("find_records", {"collection": "a b", "filter": {"x": {"like": 1}}}, ["collection", "filter.x"]),
    ("find_records", {"collection": "a", "sort": "a."}, ["sort"]),
    ("add_tag", {"collection": "a", "id": "{{ input.id }}", "tags": [3]}, ["tags[0]"]),
    ("create_task", {"title": " ", "due_date": "+3 fortnights"}, ["due_date", "title"]),
    ("create_deal", {"title": "x", "amount": "much"}, ["amount"]),
    ("create_deal", {"title": "", "close_date": "soon"}, ["close_date", "title"]),
    ("update_lead", {"id": "x", "score": 1e40}, ["id", "score"]),
    ("send_notification", {"channel": "in_app", "message": "x", "level": "loud"}, ["level"]),
]


@pytest.mark.parametrize(("type_name", "config", "paths"), BAD)
def test_every_literal_fault_is_named(type_name: str, config: dict[str, Any], paths: list[str]) -> None:
    faults = CATALOGUE[type_name].check(config, "config")
    assert sorted(fault.path for fault in faults) == [f"config.{path}" for path in paths]


GOOD: list[tuple[str, dict[str, Any]]] = [
    ("update_field", {"collection": "a", "id": "{{ input.id }}", "field": "{{ input.field }}", "value": 1}),
    ("update_record", {"collection": "{{ input.c }}", "id": "{{ input.id }}", "data": "{{ input }}"}),
    ("add_tag", {"collection": "a", "id": ID, "tags": "{{ input.tags }}"}),
    ("find_records", {"collection": "a", "filter": {"x": "{{ input.x }}"}, "limit": "{{ input.n }}"}),
    ("create_task", {"title": "${ input.title }", "due_date": "{{ input.due }}", "tags": ["{{ input.tag }}"]}),
    ("update_lead", {"id": "{{ lead }}", "status": None}),
]


@pytest.mark.parametrize(("type_name", "config"), GOOD)
def test_what_a_template_gives_is_judged_later(type_name: str, config: dict[str, Any]) -> None:
    assert CATALOGUE[type_name].check(config, "config") == []


def test_the_rows() -> None:
    for row in RECORD_TYPES:
        assert row.kind is (ActionKind.EFFECT if row.name == "find_records" else ActionKind.LOCAL)
        assert CATALOGUE[row.name] is row
        assert row.check(row.example, "config") == []
    assert CATALOGUE["update_field"] is CATALOGUE["update_record"]
