"""Differences as the audit log keeps them: by path, bounded, without credentials."""

from typing import Any

import pytest

from libs.common.domain.audit import LONGEST_VALUE, MOST_CHANGES, changes


def told(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    return {one.path: (one.before, one.after) for one in changes(before, after)}


def test_what_differs_is_told_by_its_path() -> None:
    steps: list[Any] = [{"config": {"n": 1}}, {"config": {}}]
    before: dict[str, Any] = {"name": "A", "same": [1, {"x": 1}], "actions": steps, "gone": True}
    after = {"name": "B", "same": [1, {"x": 1}], "actions": [{"config": {"n": 2}}], "new": {"deep": None}}
    assert told(before, after) == {
        "name": ("A", "B"),
        "actions[0].config.n": (1, 2),
        "actions[1].config": ({}, None),
        "gone": (True, None),
        "new.deep": (None, None),
    }
    assert told(before, before) == {}


def test_what_is_made_or_gone_is_told_whole() -> None:
    assert told(None, {"name": "A", "tags": []}) == {"name": (None, "A"), "tags": (None, [])}
    assert told({"name": "A"}, None) == {"name": ("A", None)}
    assert told(None, None) == {}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("auth.token", {"auth": {"type": "bearer", "token": "hush-1"}}),
        ("auth.value", {"auth": {"header": "X", "value": "hush-1"}}),
        ("auth.username", {"auth": {"username": "hush-1"}}),
        ("headers.Authorization", {"headers": {"Authorization": "Bearer hush-1"}}),
        ("a[0].api_key.inner", {"a": [{"api_key": {"inner": "hush-1"}}]}),
        ("password", {"password": ["hush-1"]}),
    ],
)
def test_credentials_are_masked_and_their_change_is_told(path: str, document: dict[str, Any]) -> None:
    found = changes(document, None)
    assert "hush" not in str(found)
    assert any(one.path.startswith(path) and one.before == "***" for one in found)


def test_credentials_in_addresses_are_masked() -> None:
    url = "https://me:hush@example.com/x?api_key=hush&page=2"
    assert told({"url": url}, None) == {"url": ("https://***@example.com/x?api_key=***&page=2", None)}


def test_a_large_difference_is_bounded() -> None:
    found = changes({"n0": -1}, {f"n{number}": number for number in range(1_000)})
    assert (len(found), found[-1].path) == (MOST_CHANGES + 1, "…")
    assert len(told(None, {"text": "x" * 100_000})["text"][1]) == LONGEST_VALUE
    assert told({"a": {"secret": "hush"}}, {"a": 1}) == {"a": ("(17 bytes)", 1)}
