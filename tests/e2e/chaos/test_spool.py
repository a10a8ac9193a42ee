"""PostgreSQL away, and the webhook service killed on top of it: what was answered 202 from the spool runs, and runs
once, at whatever moment the process died. `make chaos` goes through it more than once.
"""

import os
import resource
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from services.webhooks.spool import read_calls
from tests.e2e.chaos.load import Load, check, load
from tests.e2e.installation import Installation, installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("spool"), pytest.mark.timeout(300),
]  # fmt: skip

ROUNDS = int(os.environ.get("SIGNALBOX_CHAOS_SPOOL_ROUNDS", "1"))
SPOOLED = 300
"""Of which the delivery makes several transactions."""
TORN = b"\x00\x00\x01\x00torn"
"""The beginning of a record, as an append that was cut off leaves it."""

_SAME_ID = """
INSERT INTO executions (tenant_id, id, workflow_id, version, trigger_type, input, traceparent, wake_at)
SELECT tenant_id, $1, workflow_id, version, trigger_type, input, traceparent, now()
  FROM executions WHERE trigger_id = $2 LIMIT 1
"""

_FULL = ("the spool cannot be written",)
"""What stands in the log of the service, which the tests share, since the disk was full."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("spool")
    settings = {"SIGNALBOX_LOG_LEVEL": "warning", "SIGNALBOX_SPOOL_DIR": str(folder / "spool")}
    async with installation(folder, **settings) as made:
        yield made


async def test_killed_while_it_appends_while_it_delivers_and_before_it_forgets(running: Installation) -> None:
    async with load(running, "spooled", 0) as calls:
        for _ in range(ROUNDS):
            await calls.sent_more(50)
            await running.postgres.stop()
            first, last = await spool_more(calls, SPOOLED)
            await running.services["webhooks"].kill()  # calls go on: some are being appended
            left = {path: path.read_bytes() + TORN for path in spool(running).iterdir()}
            assert len(left) == 1  # however often it looked whether PostgreSQL is back
            put_back(left)
            await running.postgres.start()
            await kill_while_delivering(running, calls, first, last)
            assert left.keys() == set(spool(running).iterdir())
            running.services["webhooks"].launch()
            await running.services["webhooks"].ready()
            await delivered(running)
            put_back(left)  # as after a kill between the commit and the end of the file
            await delivered(running)
    assert calls.unanswered
    assert calls.refused == set()
    await check(running, calls, _FULL)


async def test_a_full_disk_refuses_and_keeps_what_it_has(running: Installation) -> None:
    """A limit on the size of files stands for the disk: no file can be begun, nor the log written; later a record is
    cut off in the middle.
    """
    pid = running.services["webhooks"].pid
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    async with load(running, "full", 0) as calls:
        await calls.sent_more(20)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        await running.postgres.stop()
        await refuse_more(calls, 20)
        before = open_files(pid, spool(running))
        await refuse_more(calls, 40)
        assert open_files(pid, spool(running)) <= before + 1  # the file that is tried at the moment
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        await spool_more(calls, 40)
        (file,) = spool(running).iterdir()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (file.stat().st_size + 1_000, hard))
        await refuse_more(calls, 20)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        await spool_more(calls, 40)
        assert list(spool(running).iterdir()) == [file]
        assert read_calls(file.read_bytes())[1] is False
        await running.postgres.start()
        await delivered(running)
    assert calls.unanswered == set()
    await check(running, calls, _FULL)


def spool(running: Installation) -> Path:
    return Path(running.environment["SIGNALBOX_SPOOL_DIR"])


def open_files(pid: int, folder: Path) -> int:
    """How many files of the folder a process has open; its sockets come and go."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += descriptor.readlink().is_relative_to(folder)
    return count


def put_back(files: dict[Path, bytes]) -> None:
    for path, data in files.items():
        path.write_bytes(data)


async def spool_more(calls: Load, number: int) -> tuple[UUID, UUID]:
    """So many further calls are answered 202 while PostgreSQL is away; the executions of the first and the last."""
    before = set(calls.accepted)

    async def are_taken() -> bool:
        return len(calls.accepted) >= len(before) + number

    await until(are_taken, 60)
    numbers = calls.accepted.keys() - before
    return calls.accepted[min(numbers)], calls.accepted[max(numbers)]


async def refuse_more(calls: Load, number: int) -> None:
    """So many further calls are answered 503."""
    before = len(calls.refused)

    async def are_refused() -> bool:
        return len(calls.refused) >= before + number

    await until(are_refused, 60)


async def kill_while_delivering(running: Installation, calls: Load, first: UUID, last: UUID) -> None:
    """Start the service and kill it when some of the spool is committed and the rest is not: the last execution's
    place is held by a transaction of ours.
    """
    holder = await asyncpg.connect(running.dsn)
    holding = holder.transaction()
    await holding.start()
    await holder.execute(_SAME_ID, last, UUID(calls.url.rsplit("/", 1)[1]))
    running.services["webhooks"].launch()

    async def has_begun() -> bool:
        return bool(await running.fetch("SELECT FROM executions WHERE id = $1", first))

    await until(has_begun, 60)
    await running.services["webhooks"].kill()
    await holding.rollback()
    await holder.close()


async def delivered(running: Installation) -> None:
    async def is_empty() -> bool:
        return list(spool(running).iterdir()) == []

    await until(is_empty, 60)
