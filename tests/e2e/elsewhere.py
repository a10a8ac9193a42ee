"""Texts that stand outside the database: in what RabbitMQ has written to its disk, and in the keys and values of Redis.

The broker writes every message of ours to its disk before it confirms it, whichever queue it is for, and keeps it
until its files are renewed: so its folder tells of dead letters, of stored queues, and of most of what has passed.
"""

import asyncio
from collections.abc import Collection
from pathlib import Path

from libs.common.cache.line import Line

_SECONDS = 10.0

Found = set[tuple[str, str]]
"""Where, and which of the texts."""


async def found_elsewhere(broker: Path, redis_url: str, texts: Collection[str]) -> Found:
    """Those of the texts that stand there. `broker`: the folder of its data."""
    in_files = await asyncio.to_thread(_in_files, broker, texts)
    return in_files | await _in_redis(redis_url, texts)


def _in_files(folder: Path, texts: Collection[str]) -> Found:
    found = Found()
    for path in folder.rglob("*"):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # renewed meanwhile
            continue
        found |= {(f"RabbitMQ's {path.name}", text) for text in texts if text.encode() in data}
    return found


async def _in_redis(url: str, texts: Collection[str]) -> Found:
    """DUMP is the one command that shows values of any type; told not to compress, it has them word for word."""
    line, cursor, found = Line(url), b"0", Found()
    try:
        await line.ask([("CONFIG", "SET", "rdbcompression", "no")], _SECONDS)
        while True:
            ((cursor, keys),) = await line.ask([("SCAN", cursor, "COUNT", 1_000)], _SECONDS)
            for key, dump in zip(keys, await line.ask([("DUMP", key) for key in keys], _SECONDS), strict=True):
                data = key + (dump or b"")  # gone meanwhile
                found |= {(f"Redis' {key!r}", text) for text in texts if text.encode() in data}
            if cursor == b"0":
                return found
    finally:
        await line.close()
