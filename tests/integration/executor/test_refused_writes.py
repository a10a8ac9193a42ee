"""What the database does not take: a value it refuses ends that execution alone, a database that takes no writes for a
while is waited for.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from libs.common.bus.memory import MemoryBus
from libs.common.bus.messages import ReadyBatch, encode
from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, announced, attempts
from tests.integration.executor.test_runs import call, log
from tests.waiting import until

_PICKY = "ALTER TABLE action_executions ADD CONSTRAINT picky CHECK (output::text NOT LIKE '%unlucky%')"


async def test_a_text_that_holds_u0000_is_kept_to_the_letter(executor: Executor, endpoint: Endpoint) -> None:
    run = await executor.run(
        [call(endpoint, config={"body": "{{ input }}"}), log("a", "{{ input.text }}")], {"text": "a\0b"}
    )
    assert (run["status"], run["actions"][1]["output"]["message"]) == ("completed", "a\0b")
    assert (endpoint.requests[0][2], run["actions"][0]["input"]["body"]) == (b'{"text":"a\\u0000b"}', {"text": "a\0b"})


async def test_records_that_are_refused_end_their_execution_and_no_other_of_the_same_commit(
    executors: Executor, acme: World
) -> None:
    await acme.fetch(_PICKY)
    ids = [await executors.begin([log("a", text)]) for text in ("lucky", "unlucky", "lucky", "unlucky", "lucky")]
    executors.others.append(bus := MemoryBus())
    await bus.connect()
    await executors.start(bus)
    await bus.publish([encode(ReadyBatch(items=tuple(await announced(acme))))])
    runs = [await executors.seen(one, "completed", "failed") for one in ids]
    assert [run["status"] for run in runs] == ["completed", "failed", "completed", "failed", "completed"]
    refused = runs[1]
    assert (refused["error"]["class"], attempts(refused)) == ("unstorable", [("a", 1, "completed")])
    assert (refused["actions"][0]["output"], "unlucky" in str(refused)) == (None, False)
    assert refused["finished_at"] is not None
    assert await bus.dead_letters() == 0


async def test_records_that_are_refused_in_the_middle_leave_no_attempt_open(
    executor: Executor, endpoint: Endpoint, acme: World
) -> None:
    await acme.fetch(_PICKY)
    run = await executor.run([call(endpoint), log("a", "unlucky"), call(endpoint, "never")])
    assert (run["status"], run["error"]["class"]) == ("failed", "unstorable")
    assert attempts(run) == [("call", 1, "completed"), ("a", 1, "completed"), ("never", 1, "cancelled")]
    assert run["actions"][0]["input"]["url"] == f"{endpoint.url}/hook"
    assert len(endpoint.requests) == 1
    assert (await executor.run([log("a", "lucky")]))["status"] == "completed"


async def test_what_was_done_within_the_database_keeps_its_record_when_later_ones_are_refused(
    executor: Executor, acme: World
) -> None:
    """Its run tells of it once more, in the flush that is refused."""
    await acme.fetch(_PICKY)
    emit: dict[str, Any] = {"key": "emit", "type": "emit_event", "config": {"event": "thing.done", "data": {"n": 1}}}
    run = await executor.run([emit, log("a", "unlucky")])
    assert (run["error"]["class"], attempts(run)) == ("unstorable", [("emit", 1, "completed"), ("a", 1, "completed")])
    assert run["actions"][0]["output"]["event_id"]
    assert run["actions"][0]["input"]["data"] == {"n": 1}


async def test_what_earlier_commits_left_open_is_closed_when_records_are_refused(
    executor: Executor, endpoint: Endpoint, acme: World
) -> None:
    """A loop that was begun, a delay, and a call that is under way beside the action whose record is refused."""
    await acme.fetch(_PICKY)
    endpoint.gate.clear()
    body: list[Any] = [{"key": "pause", "type": "wait", "config": {"seconds": 0.2}}, log("a", "unlucky")]
    loop: dict[str, Any] = {
        "key": "loop",
        "type": "for_each",
        "needs": [],
        "config": {"items": [1, 2], "actions": body},
    }
    slow = call(endpoint, "slow", needs=[])
    later = log("later", "x", needs=[]) | {"delay_seconds": 3600}
    run = await executor.run([loop, slow, later])
    assert (run["status"], run["error"]["class"]) == ("failed", "unstorable")
    found = sorted((action["key"], action["index"], action["status"]) for action in run["actions"])
    assert found == [
        ("a", 0, "completed"), ("later", 0, "cancelled"), ("loop", 0, "cancelled"), ("pause", 0, "completed"),
        ("pause", 1, "cancelled"), ("slow", 0, "cancelled"),
    ]  # fmt: skip


async def test_an_effect_that_ended_while_records_were_refused_is_not_recorded_as_cancelled(
    executor: Executor, endpoint: Endpoint, acme: World, database_dsn: str
) -> None:
    await acme.fetch(_PICKY)
    endpoint.hold(1)
    pause: dict[str, Any] = {"key": "pause", "type": "wait", "needs": [], "config": {"seconds": 0.5}}
    execution_id = await executor.begin([call(endpoint, needs=[]), pause, log("a", "unlucky", needs=["pause"])])
    await endpoint.called(1)
    locking = await asyncpg.connect(database_dsn)
    async with locking.transaction():
        await locking.execute("LOCK TABLE action_executions IN SHARE MODE")  # the refused write has to wait
        await until(lambda: _is_somebody_waiting(acme))
        endpoint.release(1)
        await until(_no_effect_is_under_way)
    await locking.close()
    run = await executor.seen(execution_id, "failed")
    assert run["error"]["class"] == "unstorable"
    assert attempts(run) == [("call", 1, "completed"), ("pause", 1, "completed"), ("a", 1, "completed")]


async def _is_somebody_waiting(world: World) -> bool:
    return bool(
        await world.fetch("SELECT FROM pg_locks WHERE NOT granted AND relation = 'action_executions'::regclass")
    )


async def _no_effect_is_under_way() -> bool:
    return not any("Engine._perform" in repr(task.get_coro()) for task in asyncio.all_tasks())


@pytest.fixture
async def read_only(postgres_dsn: str, database_dsn: str) -> AsyncIterator[Callable[[bool], Awaitable[None]]]:
    """Makes the test's database take no writes, as a standby does after a failover, or take them again."""
    connection = await asyncpg.connect(postgres_dsn)
    name = urlsplit(database_dsn).path[1:]

    async def make(holds: bool) -> None:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {holds}")
        await connection.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)

    yield make
    await connection.close()


async def test_a_database_that_takes_no_writes_for_a_while_is_waited_for(
    executor: Executor, endpoint: Endpoint, acme: World, read_only: Callable[[bool], Awaitable[None]]
) -> None:
    endpoint.hold(1)
    execution_id = await executor.begin([call(endpoint), call(endpoint, "next")])
    await endpoint.called(1)
    run = await executor.seen(execution_id, "running")
    await read_only(True)
    endpoint.release(1)
    refused = await acme.call("POST", f"/workflows/{run['workflow_id']}/execute", {"input": {}})
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    await asyncio.sleep(0.6)  # some of the journal's tries
    assert attempts(await executor.seen(execution_id, "running")) == [("call", 1, "started")]
    await read_only(False)
    run = await executor.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "completed"), ("next", 1, "completed")]
