"""Slugs and roles."""

import pytest

from libs.common.domain.tenant import is_slug, role_allows


@pytest.mark.parametrize("slug", ["abc", "acme-corp", "a1b", "x" * 63, "a-b-c"])
def test_slugs(slug: str) -> None:
    assert is_slug(slug)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab",
        "Acme",
        "1abc",
        "-abc",
        "abc-",
        "a--b",
        "a_b",
        "x" * 64,
        "acmé",
        "abc\n",
        "a" * 32,
        "deadbeef-dead-7eef-8eef-deadbeefdead",
    ],
)
def test_no_slugs(text: str) -> None:
    assert not is_slug(text)


@pytest.mark.parametrize("needed", ["owner", "editor", "viewer"])
def test_roles(needed: str) -> None:
    order = ["viewer", "editor", "owner"]
    assert [role_allows(role, needed) for role in order] == [index >= order.index(needed) for index in range(3)]
    assert not role_allows("nobody", needed)
