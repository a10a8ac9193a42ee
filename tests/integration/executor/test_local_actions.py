"""Actions on the tenant's own data run in the transaction of their record: once, whatever is killed when."""

from typing import Any

from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log
from tests.waiting import until


def create(collection: str = "deals", key: str = "save", **data: Any) -> dict[str, Any]:
    return {"key": key, "type": "create_record", "config": {"collection": collection, "data": data}}


async def records(executor: Executor, collection: str = "deals") -> list[dict[str, Any]]:
    return (await executor.world.call("GET", f"/collections/{collection}/records")).json()["items"]


async def test_a_record_is_made_changed_found_and_deleted(executor: Executor) -> None:
    run = await executor.run(
        [
            create(title="{{ input.title }}", stage="new"),
            {
                "key": "win", "type": "update_record",
                "config": {"collection": "deals", "id": "{{ actions.save.output.id }}", "data": {"stage": "won"}},
            },
            {
                "key": "find", "type": "find_records",
                "config": {"collection": "deals", "filter": {"stage": "won"}},
            },
            log("count", "{{ actions.find.output.count }} {{ actions.find.output.records[0].data.title }}"),
            {
                "key": "gone", "type": "delete_record",
                "config": {"collection": "deals", "id": "{{ actions.save.output.id }}"},
            },
        ],
        {"title": "Boat"},
    )  # fmt: skip
    assert (run["status"], run["error"]) == ("completed", None)
    assert run["actions"][3]["output"]["message"] == "1 Boat"
    assert run["actions"][1]["output"]["version"] == 2
    assert await records(executor) == []


async def test_an_action_that_cannot_be_done_fails_with_the_reason_and_changes_nothing(executor: Executor) -> None:
    run = await executor.run([create("no_such", title="x")])
    assert (run["status"], run["error"]["class"]) == ("failed", "not_found")
    run = await executor.run(
        [create("no_such", title="x") | {"on_error": "continue"}, log("after", "{{ actions.save.status }}")]
    )
    assert (run["status"], run["actions"][1]["output"]["message"]) == ("completed", "failed")


async def test_an_action_is_tried_again_as_any_other(executor: Executor) -> None:
    retry = {"max_attempts": 2, "initial_seconds": 0, "backoff": "fixed", "retry_on": ["not_found"]}
    run = await executor.run([create("no_such", title="x") | {"retry": retry}])
    assert attempts(run) == [("save", 1, "failed"), ("save", 2, "failed")]


async def test_a_write_happens_once_though_its_executor_is_given_up_right_after(
    executors: Executor, endpoint: Endpoint
) -> None:
    """The call behind it is in doubt and made again; the record is not."""
    first = await executors.start()
    endpoint.gate.clear()
    execution_id = await executors.begin([create(title="Once"), call(endpoint, "tell")])
    await endpoint.called(1)
    await executors.give_up(first)
    endpoint.gate.set()
    run = await executors.seen(execution_id, "completed")
    assert attempts(run) == [("save", 1, "completed"), ("tell", 1, "unknown"), ("tell", 2, "completed")]
    assert [record["data"]["title"] for record in await records(executors)] == ["Once"]


async def test_many_runs_that_write_share_commits(executor: Executor) -> None:
    begun = [await executor.begin([create(number="{{ input.n }}")], {"n": n}) for n in range(20)]
    for execution_id in begun:
        assert (await executor.seen(execution_id, "completed", "failed"))["status"] == "completed"
    assert sorted(record["data"]["number"] for record in await records(executor)) == list(range(20))


async def test_a_loop_writes_a_record_for_each_item(executor: Executor) -> None:
    loop = {"items": "{{ input.names }}", "actions": [create(name="{{ item }}")], "concurrency": 3}
    run = await executor.run([{"key": "loop", "type": "for_each", "config": loop}], {"names": ["a", "b", "c", "d"]})
    assert run["status"] == "completed"
    assert sorted(record["data"]["name"] for record in await records(executor)) == ["a", "b", "c", "d"]


async def test_a_secret_does_not_get_into_a_record(executor: Executor) -> None:
    await executor.world.call("PUT", "/secrets/TOKEN", {"value": "hunter2-hunter2"})
    run = await executor.run([create(token="{{ secrets.TOKEN }}")])
    assert run["status"] == "completed"
    assert [record["data"]["token"] for record in await records(executor)] == ["***"]


async def test_a_notification_inside_of_the_product(executor: Executor) -> None:
    config = {"channel": "in_app", "message": "Hello {{ input.name }}", "user": "ada"}
    run = await executor.run([{"key": "tell", "type": "send_notification", "config": config}], {"name": "Ada"})
    assert run["status"] == "completed"
    listed = (await executor.world.call("GET", "/notifications")).json()["items"]
    assert [one["message"] for one in listed] == ["Hello Ada"]


async def test_a_record_raises_events_that_start_workflows(executor: Executor) -> None:
    listener = {
        "name": "listener", "actions": [log("seen", "{{ old }} to {{ new }}: {{ title }}")],
        "triggers": [{"key": "moved", "type": "event", "config": {"event": "deal_stage_changed"}}],
    }  # fmt: skip
    await executor.world.made(listener)
    change = {"collection": "deals", "id": "{{ actions.save.output.id }}", "data": {"stage": "won"}}
    await executor.run([create(title="Boat", stage="new"), {"key": "win", "type": "update_record", "config": change}])

    async def has_run() -> bool:
        listed = (await executor.world.call("GET", "/executions?trigger_type=event&status=completed")).json()["items"]
        return len(listed) == 1

    await until(has_run)
    listed = (await executor.world.call("GET", "/executions?trigger_type=event")).json()["items"]
    run = await executor.seen(listed[0]["id"], "completed")
    assert run["actions"][0]["output"]["message"] == "new to won: Boat"
