"""Counting together over a real Valkey, on a line of our own, and what is heard while it is away."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.cache.line import Line
from libs.common.cache.outstanding import Counted
from libs.common.cache.redis_outstanding import RedisOutstanding
from libs.common.clock import new_id
from libs.common.embedded.valkey import EmbeddedValkey

ONE, OTHER = new_id(), new_id()


@pytest.fixture
async def counts(redis_url: str) -> AsyncIterator[RedisOutstanding]:
    made = RedisOutstanding(redis_url)
    assert await made.set({}, ())
    yield made
    await made.close()


async def test_processes_count_together(counts: RedisOutstanding, redis_url: str) -> None:
    other = RedisOutstanding(redis_url)
    assert await counts.add({ONE: 3}) == Counted({ONE: 3}, 3, frozenset())
    assert await other.add({OTHER: 2}, [ONE], [ONE]) == Counted({ONE: 3, OTHER: 2}, 5, frozenset({ONE}))
    assert await counts.add({ONE: -1}) == Counted({ONE: 2}, 4, frozenset({ONE}))
    assert await counts.all() == Counted({ONE: 2, OTHER: 2}, 4, frozenset({ONE}))
    await other.forget_backlog([ONE])
    assert await counts.all() == Counted({ONE: 2, OTHER: 2}, 4, frozenset())
    await other.close()


async def test_what_is_set_stands_whatever_was_counted(counts: RedisOutstanding) -> None:
    await counts.add({ONE: -7, OTHER: 4}, (), [OTHER])
    assert await counts.all() == Counted({ONE: 0, OTHER: 4}, 0, frozenset({OTHER}))
    assert await counts.set({ONE: 9}, [ONE])
    assert await counts.all() == Counted({ONE: 9}, 9, frozenset({ONE}))


async def test_a_server_that_goes_away_is_none_and_heard_again_when_it_is_back(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    counts = RedisOutstanding(url := await valkey.start())
    assert await counts.set({ONE: 1}, ())
    await valkey.stop()
    assert await counts.all() is None
    assert not await counts.set({ONE: 1}, ())
    await valkey.start()
    line = Line(url)
    assert await line.ask([("PING",), ("HLEN", "nothing")], 5.0) == [b"PONG", 0]
    await line.close()
    await counts.close()
    await valkey.stop()


async def test_many_answers_come_in_their_order_and_a_refusal_ends_the_line(redis_url: str) -> None:
    line = Line(redis_url)
    names = [f"n{number}" for number in range(3_000)]
    assert await line.ask([("ECHO", name * 50) for name in names], 5.0) == [(name * 50).encode() for name in names]
    with pytest.raises(OSError, match="wrong number of arguments"):
        await line.ask([("GET",), ("PING",)], 5.0)
    assert await line.ask([("PING",)], 5.0) == [b"PONG"]
    await line.close()


def test_whoever_only_counts_does_not_load_the_usual_client() -> None:
    """It costs 15 to 20 MB in each process that accepts."""
    program = "import sys, libs.common.parts; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
