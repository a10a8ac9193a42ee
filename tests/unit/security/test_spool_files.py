"""The spool's files: what was synced is read back, a torn end is no damage, a changed byte is found."""

import asyncio
import os
from pathlib import Path

import pytest

from libs.common.accept import Arrival, NewExecution, Spooled
from libs.common.clock import new_id
from libs.common.errors import OperatorError, Unavailable
from services.webhooks.spool import Spool, read_calls
from tests.factories import call_row


def call(number: int) -> Spooled:
    row = call_row(new_id(), new_id(), detail=f"number {number}")
    new = NewExecution(row.tenant_id, new_id(), 1, row.trigger_id, "hook", "webhook", b'{"n": 1}')
    return Spooled(arrival=Arrival(new, row, delivery=b"\x01" * 32)) if number % 2 else Spooled(call=row)


async def written(folder: Path, calls: list[Spooled]) -> bytes:
    """The one file that these calls are in; the process that wrote it is gone."""
    spool = Spool(folder, 10_000_000)
    await asyncio.gather(*[spool.append(one) for one in calls])
    await spool.close()
    (path,) = folder.glob("*.spool")
    return path.read_bytes()


async def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    calls = [call(number) for number in range(20)]
    assert read_calls(await written(tmp_path, calls)) == (calls, False)


async def test_a_torn_file_gives_what_is_whole_and_a_changed_byte_ends_it(tmp_path: Path) -> None:
    calls = [call(number) for number in range(3)]
    data = await written(tmp_path, calls)
    for end in range(len(data)):
        found, damaged = read_calls(data[:end])
        assert (found, damaged) == (calls[: len(found)], False)
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        found, _ = read_calls(changed)
        assert found == calls[: len(found)]
        assert len(found) < len(calls)


async def test_files_of_a_living_process_are_left_to_it(tmp_path: Path) -> None:
    living, other = Spool(tmp_path, 10_000_000), Spool(tmp_path, 10_000_000)
    await living.append(call(0))
    seen: list[int] = []

    async def write(calls: object) -> int:
        seen.append(len(list(calls)))  # pyright: ignore[reportUnknownArgumentType, reportArgumentType]
        return 0

    assert await other.deliver(write) == 0
    assert await living.deliver(write) == 1
    await living.append(call(1))
    await living.close()
    assert (await other.deliver(write), seen, list(tmp_path.iterdir())) == (1, [1, 1], [])
    await other.close()


async def test_what_the_database_refuses_for_ever_is_put_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000_000)
    await spool.append(call(0))

    async def refuse(calls: object) -> int:
        return 1

    for _ in range(5):
        await spool.deliver(refuse)
    assert [path.suffix for path in tmp_path.iterdir()] == [".refused"]
    await spool.close()


async def test_an_unavailable_database_keeps_the_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000_000)
    await spool.append(call(0))

    async def away(calls: object) -> int:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        await spool.deliver(away)
    assert spool.has_files()
    await spool.close()


def test_a_folder_that_cannot_be_is_the_operator_s_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError):
        Spool(tmp_path / "file", 1)
    assert os.listdir(tmp_path) == ["file"]
