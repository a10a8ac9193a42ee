"""Who lets whom pass in an executor."""

import asyncio
from uuid import UUID

from services.executor.crowd import Crowd
from tests.waiting import patience

ONE, OTHER = UUID(int=1), UUID(int=2)


async def test_a_tenant_alone_shares_with_nobody() -> None:
    crowd = Crowd()
    for _ in range(3):
        crowd.note(ONE)
        assert not crowd.is_shared
    crowd.note(OTHER)
    assert crowd.is_shared


async def test_bulk_lets_pass_who_is_ahead() -> None:
    crowd, order = Crowd(), list[str]()

    async def bulk() -> None:
        await crowd.let_pass()
        order.append("bulk")

    with crowd.ahead():
        task = asyncio.create_task(bulk())
        await asyncio.sleep(0)
        order.append("prompt")
    await task
    assert order == ["prompt", "bulk"]


async def test_bulk_does_not_wait_for_ever() -> None:
    crowd = Crowd()
    async with patience():
        with crowd.ahead():
            await crowd.let_pass()
