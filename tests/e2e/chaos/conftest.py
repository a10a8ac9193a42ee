"""One installation a file, and how a bad day says what it came to."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
import pytest_asyncio

from tests.e2e.chaos.scenario import Day, bad_day
from tests.e2e.installation import Installation, installation

collect_ignore = [] if os.environ.get("SIGNALBOX_CHAOS") == "long" else ["long"]
"""Files of `long` that are named are run all the same."""

BadDay = Callable[..., AbstractAsyncContextManager[Day]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with installation(tmp_path_factory.mktemp("chaos"), SIGNALBOX_LOG_LEVEL="warning") as made:
        yield made


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line past the capture."""

    def write(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return write


@pytest.fixture
def a_bad_day(running: Installation, say: Callable[[str], None]) -> BadDay:
    """See `bad_day`."""
    return partial(bad_day, running, say)
