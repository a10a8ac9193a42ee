"""`signalbox up`: how long a start takes on a data folder that exists, and the memory of the one process."""

import asyncio
from pathlib import Path
from time import perf_counter

from tests.servers import ServiceProcess

_STARTS = 3


async def measure(folder: Path) -> dict[str, float]:
    """All figures of this part, by dotted name."""
    starts: list[float] = []
    memory = 0.0
    for number in range(_STARTS + 1):
        process = ServiceProcess("up", {"SIGNALBOX_LOG_LEVEL": "warning"}, folder, ["--data", str(folder / "up")])
        began = perf_counter()
        try:
            await process.start()
            if number > 0:  # the first start makes the database
                starts.append(perf_counter() - began)
            await asyncio.sleep(1)
            memory = max(memory, process.resident_mb())
        finally:
            await process.stop()
    return {"up.ready_s": sorted(starts)[len(starts) // 2], "memory.up_idle_mb": memory}
