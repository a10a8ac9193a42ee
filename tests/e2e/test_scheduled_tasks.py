"""docs/scheduled-tasks.md, as its reader goes through it: every line of its shell is executed, by a shell, against
running services, and every task comes to its output.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.pages import Reader, fences, reading, text_of
from tests.e2e.passing_time import Site, site

PAGE = "docs/scheduled-tasks.md"


@pytest.fixture
async def desk(database_dsn: str) -> AsyncIterator[tuple[Site, Reader]]:
    async with (
        site(database_dsn) as running,
        reading({"K": running.key}, {"http://127.0.0.1:8000": running.base}) as reader,
    ):
        yield running, reader


async def test_what_the_page_says(desk: tuple[Site, Reader]) -> None:
    running, reader = desk
    blocks = iter(fences(text_of(PAGE), "sh"))
    await reader.types(next(blocks))
    outputs: dict[str, Any] = {}
    for name in ("GREET", "SAVE", "REPORT", "SWEEP"):
        started = await reader.sees(next(blocks))
        run = await running.tenant.ended(started["execution_id"])
        assert run["status"] == "completed", run["error"]
        block = next(blocks)
        listed = await reader.sees(block.splitlines()[0])
        assert [(one["id"], one["status"], one["output"]) for one in listed["items"]] == [
            (run["id"], "completed", run["output"])
        ]
        assert listed["items"][0]["duration_ms"] > 0
        outputs[name] = run["output"]
        if name == "REPORT":
            (told,) = (await reader.sees(block.splitlines()[1]))["items"]
            assert (told["title"], told["message"]) == ("Last week", run["output"]["text"])
    assert outputs["GREET"]["output"] == "Hello Ada"
    assert outputs["SAVE"]["data"]["title"].startswith("Look at 2")
    assert outputs["REPORT"]["executions"]["completed"] == 3
    assert (outputs["SWEEP"]["executions"], outputs["SWEEP"]["complete"]) == (0, True)
    left = await reader.sees(next(blocks))
    assert [one["name"] for one in left["items"]] == ["Last week", "Remind", "Greet every morning"]
    assert next(blocks, None) is None
    _, stays = await running.tenant.call("GET", f"/executions/{run['id']}")
    assert stays["status"] == "completed"
