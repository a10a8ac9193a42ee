"""The list of schedules in every order, page by page."""

from typing import Any

import pytest

from tests.integration.conftest import World
from tests.integration.gateway.definitions import hourly, workflow

_STANDING = """
UPDATE triggers t SET next_run_at = now() + x.due * interval '1 minute', last_lag_ms = x.lag,
       last_run_at = now() - x.ago * interval '1 second'
  FROM unnest($1::text[], $2::int[], $3::int[], $4::int[]) AS x (name, due, ago, lag)
  JOIN workflows w ON w.name = x.name WHERE t.workflow_id = w.id
"""
_SCHEDULES = [
    ("alpha", 30, 20, 7), ("Beta", 10, None, None), ("gamma", None, 5, 7), ("Ärger \N{SNOWMAN}", 20, 70, 1000),
    ("delta", None, None, None),
]  # fmt: skip
"""Name; due in minutes; last run, seconds ago; lag."""


async def make_schedules(acme: World) -> dict[str, str]:
    """The schedules above; their trigger ids by name."""
    made = {name: await acme.made(workflow(name, triggers=[hourly()])) for name, *_ in _SCHEDULES}
    await acme.fetch(_STANDING, *[list(column) for column in zip(*_SCHEDULES, strict=True)])
    return {name: one["triggers"][0]["id"] for name, one in made.items()}


async def page_of(acme: World, query: str, status: int = 200) -> dict[str, Any]:
    answer = await acme.call("GET", f"/schedules?{query}", role="viewer")
    assert answer.status_code == status, answer.text
    return answer.json()


async def pages(acme: World, sort: str, limit: int) -> list[str]:
    """The names of all pages."""
    names: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        got = await page_of(acme, f"sort={sort}&limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        names += [one["workflow_name"] for one in got["items"]]
        cursor = got["next_cursor"]
    return names


@pytest.mark.parametrize("limit", [1, 2, 50])
async def test_every_order_in_pages_with_what_has_no_value_last(acme: World, limit: int) -> None:
    ids = await make_schedules(acme)
    tied = sorted(("alpha", "gamma"), key=ids.__getitem__)
    without = sorted(("gamma", "delta"), key=ids.__getitem__)
    unrun = sorted(("Beta", "delta"), key=ids.__getitem__)
    umlaut = "Ärger \N{SNOWMAN}"
    assert await pages(acme, "next_run_at", limit) == ["Beta", umlaut, "alpha", *without]
    assert await pages(acme, "-next_run_at", limit) == ["alpha", umlaut, "Beta", *reversed(without)]
    assert await pages(acme, "last_run_at", limit) == [umlaut, "alpha", "gamma", *unrun]
    assert await pages(acme, "-last_run_at", limit) == ["gamma", "alpha", umlaut, *reversed(unrun)]
    assert await pages(acme, "last_lag_ms", limit) == [*tied, umlaut, *unrun]
    assert await pages(acme, "-last_lag_ms", limit) == [umlaut, *reversed(tied), *reversed(unrun)]
    names = await pages(acme, "name", limit)
    assert [name for name in names if name != umlaut] == ["alpha", "Beta", "delta", "gamma"]
    assert await pages(acme, "-name", limit) == names[::-1]


async def test_a_page_goes_on_where_the_one_before_ended_whatever_came_and_went(acme: World) -> None:
    ids = await make_schedules(acme)
    first = await page_of(acme, "sort=name&limit=2")
    shown = [one["workflow_name"] for one in first["items"]]
    assert len(shown) == 2
    for item in first["items"]:
        assert (await acme.call("DELETE", f"/workflows/{item['workflow_id']}")).status_code == 204
    await acme.made(workflow("aaa", triggers=[hourly()]))
    rest = await page_of(acme, f"sort=name&cursor={first['next_cursor']}")
    assert sorted([*shown, *(one["workflow_name"] for one in rest["items"])]) == sorted(ids)


async def test_a_cursor_of_another_order_and_a_made_up_one_are_refused(acme: World) -> None:
    await make_schedules(acme)
    by_name = (await page_of(acme, "sort=name&limit=1"))["next_cursor"]
    for query in (f"sort=-name&cursor={by_name}", f"cursor={by_name}", "cursor=bm90LWEtdGltZQ"):
        assert (await page_of(acme, query, 422))["errors"][0]["path"] == "cursor"
    await page_of(acme, "sort=colour", 422)


async def test_when_a_schedule_last_ran_is_shown(acme: World) -> None:
    await make_schedules(acme)
    shown = {one["workflow_name"]: one for one in (await page_of(acme, ""))["items"]}
    assert shown["Beta"]["last_run_at"] is shown["Beta"]["last_lag_ms"] is None
    assert (shown["alpha"]["last_run_at"] is not None, shown["alpha"]["last_lag_ms"]) == (True, 7)
