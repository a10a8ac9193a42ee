"""A run that its worker cannot record any more is let go: somebody takes it again, and nothing stays running."""

from tests.integration.conftest import World
from tests.integration.executor.conftest import Endpoint, Executor, attempts
from tests.integration.executor.test_runs import call, log
from tests.waiting import until


async def test_a_journal_that_breaks_leaves_nothing_running(
    executor: Executor, endpoint: Endpoint, acme: World
) -> None:
    endpoint.hold(1)
    execution_id = await executor.begin([call(endpoint), log("after")])
    await endpoint.called(1)
    await acme.fetch("ALTER TABLE action_executions RENAME COLUMN output TO elsewhere")
    endpoint.release(1)

    async def is_pending() -> bool:
        (row,) = await acme.fetch("SELECT status FROM executions")
        return row["status"] == "pending"

    await until(is_pending)
    await acme.fetch("ALTER TABLE action_executions RENAME COLUMN elsewhere TO output")
    await acme.fetch("UPDATE executions SET wake_at = now()")
    await executor.sweep()
    run = await executor.seen(execution_id, "completed")
    assert attempts(run) == [("call", 1, "unknown"), ("call", 2, "completed"), ("after", 1, "completed")]
