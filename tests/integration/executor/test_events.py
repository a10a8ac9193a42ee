"""An event, raised over HTTP, runs the workflows that it fits on a real executor, its data's names on top."""

from tests.integration.conftest import World
from tests.integration.executor.conftest import Executor
from tests.integration.gateway.test_events import conditions, listener

ENDED = ("completed", "failed")


async def test_workflows_run_with_the_event_s_data(executor: Executor, acme: World) -> None:
    say = {
        "key": "say",
        "type": "log",
        "config": {"message": "{{ deal_title }}: {{ event.data.amount * 2 }} of {{ input.amount }}"},
    }
    tell = {
        "key": "tell",
        "type": "set_variables",
        "config": {"values": {"id": "{{ event.id }}", "at": "{{ event.at }}"}},
    }
    actions = {"actions": [say, tell], "output": {"type": "{{ event.type }}", "chain": "{{ event.chain }}"}}
    for name, event in (("First", "deal.won"), ("Second", "deal.*")):
        await acme.made({**listener(name, event, conditions=conditions(10)), **actions})
    await acme.made(listener("Never", "deal.*", conditions=conditions(1000)))
    sent = {"type": "deal.won", "data": {"deal_title": "Big", "amount": 21}}
    answer = (await acme.call("POST", "/events", sent)).json()
    assert len(answer["execution_ids"]) == 2
    for execution_id in answer["execution_ids"]:
        run = await executor.seen(execution_id, *ENDED)
        assert (run["status"], run["output"]) == ("completed", {"type": "deal.won", "chain": []})
        said, told = run["actions"]
        assert said["input"]["message"] == "Big: 42 of 21"
        assert told["input"]["values"]["id"] == answer["event_id"]
    assert await acme.count("executions") == 2


async def test_a_batch_with_ids_runs_too_and_once(executor: Executor, acme: World) -> None:
    await acme.made(listener("All", "*"))
    batch = {"events": [{"type": "a", "id": "1"}, {"type": "b", "id": "2"}]}
    first = (await acme.call("POST", "/events", batch)).json()["items"]
    again = (await acme.call("POST", "/events", batch)).json()["items"]
    assert [item["execution_ids"] for item in again] == [item["execution_ids"] for item in first]
    for item in first:
        run = await executor.seen(item["execution_ids"][0], *ENDED)
        assert run["status"] == "completed"
    assert await acme.count("executions") == 2
