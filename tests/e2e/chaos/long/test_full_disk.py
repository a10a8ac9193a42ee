"""C9: the disk of PostgreSQL is full, and has room again. It may refuse, and may crash; what it has said is so."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.chaos.load import OUTAGE_SECONDS
from tests.e2e.chaos.scenario import SEEDS, bad_day
from tests.e2e.installation import Installation, installation
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.parametrize("seed", SEEDS),
]  # fmt: skip

DISK_MB = 600
_CHUNK = b"\0" * 1024**2


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk, where PostgreSQL puts everything."""
    folder = tmp_path_factory.mktemp("full") / "data" / "postgres"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0711", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk of its own needs the right to mount one, which root has on a machine of its own")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(disk: Path) -> AsyncIterator[Installation]:
    async with installation(disk.parent.parent, SIGNALBOX_LOG_LEVEL="warning") as made:
        yield made


async def test_full_and_free_again(running: Installation, disk: Path, say: Callable[[str], None], seed: int) -> None:
    async with bad_day(running, say, "disk of the database full", seed) as day:
        await day.calls.reached(0.3)
        fill(disk / "ballast")

        async def somebody_was_refused() -> bool:
            return bool(day.calls.refused)

        await until(somebody_was_refused, 60)
        await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a length of time
        (disk / "ballast").unlink()
        await start_if_it_has_ended(running)
        day.fault_over()
    assert day.figures["repeated"] == 0


def fill(ballast: Path) -> None:
    """Not a byte is free any more."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(_CHUNK):
                os.fsync(file.fileno())
        except OSError:
            return


async def start_if_it_has_ended(running: Installation) -> None:
    """PostgreSQL starts again by itself after a crash, unless that fails too."""
    try:
        await until(lambda: _answers(running), 10)
    except TimeoutError:
        await running.postgres.stop()
        await running.postgres.start()


async def _answers(running: Installation) -> bool:
    try:
        return bool(await running.fetch("SELECT 1"))
    except Exception:  # noqa: BLE001 - whatever keeps it
        return False
