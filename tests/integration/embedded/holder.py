"""A process that holds both private servers of a data folder until SIGTERM: `python -m … FOLDER`.

Prints one line of JSON when they are up: `{"dsn", "postgres", "valkey"}`, the latter two process ids.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

from libs.common.embedded.postgres import EmbeddedPostgres
from libs.common.embedded.valkey import EmbeddedValkey


async def hold(folder: Path) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    postgres, valkey = EmbeddedPostgres(folder), EmbeddedValkey(folder)
    dsn = await postgres.start()
    await valkey.start()
    print(json.dumps({"dsn": dsn, "postgres": postgres.pid, "valkey": valkey.pid}), flush=True)
    await told.wait()
    await valkey.stop()
    await postgres.stop()


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[1])))
