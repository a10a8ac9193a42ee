"""What an executor does when messages repeat or make no sense, and when its writes are not taken."""

import asyncio

from libs.common.bus.messages import Ready, ReadyBatch, encode
from libs.common.clock import new_id
from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log


async def test_a_message_that_comes_twice_runs_once(executor: Executor, endpoint: Endpoint, acme: World) -> None:
    run = await executor.run([call(endpoint)])
    (row,) = await acme.fetch("SELECT tenant_id, id, workflow_id, version FROM executions")
    again = Ready(row["tenant_id"], row["id"], 0, row["workflow_id"], row["version"], b"", "")
    await acme.bus.publish([encode(ReadyBatch(items=(again,)))] * 3)
    other = await executor.run([log("later")])
    assert other["status"] == "completed"
    assert (len(endpoint.requests), attempts(run)) == (1, [("call", 1, "completed")])


async def test_what_nobody_can_read_goes_to_the_dead_letters_and_stops_nothing(executor: Executor, acme: World) -> None:
    await acme.bus.publish([b"not a message", b""])
    assert (await executor.run([log("a")]))["status"] == "completed"
    assert await acme.bus.dead_letters() == 2


async def test_an_execution_that_is_gone_is_passed_over(executor: Executor, acme: World) -> None:
    ghost = Ready(new_id(), new_id(), 4, new_id(), 1, b"", "")
    await acme.bus.publish([encode(ReadyBatch(items=(ghost,)))])
    assert (await executor.run([log("a")]))["status"] == "completed"
    assert await acme.bus.depth() == 0


async def test_a_stop_lets_what_runs_finish(executor: Executor, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    execution_id = await executor.begin([call(endpoint), log("after")])
    await asyncio.wait_for(endpoint.came.wait(), 5)
    stopping = asyncio.ensure_future(executor.services.pop().stop())
    await asyncio.sleep(0)
    endpoint.gate.set()
    await stopping
    assert (await executor.seen(execution_id, "completed"))["progress"] == 100


async def test_a_text_that_holds_u0000_is_kept_to_the_letter(executor: Executor) -> None:
    run = await executor.run([log("a", "{{ input.text }}")], {"text": "a\0b"})
    assert (run["status"], run["actions"][0]["output"]["message"]) == ("completed", "a\0b")


async def test_records_that_cannot_be_stored_end_the_execution_as_failed(executor: Executor, acme: World) -> None:
    await acme.fetch("ALTER TABLE action_executions ADD CONSTRAINT picky CHECK (output::text NOT LIKE '%unlucky%')")
    bad = await executor.begin([log("a", "unlucky")])
    good = await executor.run([log("a", "lucky")])
    run = await executor.seen(bad, "failed")
    assert (good["status"], run["error"]["class"], run["actions"]) == ("completed", "unstorable", [])


async def test_a_worker_knows_when_its_execution_is_another_s(
    executor: Executor, endpoint: Endpoint, acme: World
) -> None:
    endpoint.gate.clear()
    await executor.begin([call(endpoint), log("after")])
    await asyncio.wait_for(endpoint.came.wait(), 5)
    await acme.fetch("UPDATE executions SET epoch = epoch + 5, worker = $1", new_id())
    endpoint.gate.set()
    await executor.services.pop().stop()
    rows = await acme.fetch("SELECT status FROM action_executions")
    assert [row["status"] for row in rows] == ["started"]
