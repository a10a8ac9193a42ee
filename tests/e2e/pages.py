"""The pages of the documentation as their readers take them: what stands in fences, and a shell to type it into.

A fence with `sh` is executed by a test, word for word, with only the addresses replaced. `sh no-run` is for what cannot
be executed by a test (containers, clusters, machines, what runs until it is stopped); `test_pages` lists the programs
that may stand there.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers import ROOT

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "end-of-block"
_BLOCK_SECONDS = 50


class Fence(NamedTuple):
    """`kind`: what stands behind the three back-ticks."""

    kind: str
    text: str


def pages() -> list[str]:
    """Every page, by its path."""
    return sorted(str(file.relative_to(ROOT)) for file in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))


def text_of(page: str) -> str:
    """The whole page."""
    return (ROOT / page).read_text()


def chapter(page: str, title: str) -> str:
    """The part of a page whose heading holds `title`; what stands before the first heading has the title ``."""
    parts = re.split(r"^## ", text_of(page), flags=re.MULTILINE)
    (text,) = [part for part in parts if title in part.partition("\n")[0]] if title else [parts[0]]
    return text


def all_fences(text: str) -> list[Fence]:
    """The fences of a text, in order."""
    return [Fence(*found) for found in _FENCE.findall(text)]


def fences(text: str, kind: str) -> list[str]:
    """What stands in the fences of that kind, in order."""
    return [fence.text for fence in all_fences(text) if fence.kind == kind]


class Reader:
    """Somebody at a shell."""

    def __init__(self, shell: asyncio.subprocess.Process, addresses: Mapping[str, str]) -> None:
        self._shell, self._addresses = shell, addresses

    async def types(self, block: str) -> str:
        """What a block of the page prints. Variables and functions stay. The addresses are those of this test."""
        assert self._shell.stdin is not None and self._shell.stdout is not None
        self._shell.stdin.write(f"{addressed(block, self._addresses)}\necho; echo {_END}\n".encode())
        async with asyncio.timeout(_BLOCK_SECONDS):
            printed = await self._shell.stdout.readuntil(f"\n{_END}\n".encode())
        return printed.decode().removesuffix(f"\n{_END}\n").strip()

    async def sees(self, block: str) -> Any:
        """The JSON that the last line of a block prints."""
        return json.loads((await self.types(block)).splitlines()[-1])


def addressed(block: str, addresses: Mapping[str, str]) -> str:
    """The block with the addresses of a test."""
    for told, real in addresses.items():
        block = block.replace(told, real)
    return block


@asynccontextmanager
async def reading(
    variables: Mapping[str, str], addresses: Mapping[str, str], folder: Path = ROOT
) -> AsyncGenerator[Reader]:
    """A shell in that folder which has those variables."""
    shell = await asyncio.create_subprocess_exec(
        "sh", cwd=folder, env={"PATH": os.environ["PATH"], **variables},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    yield Reader(shell, addresses)
    await shell.communicate(b"exit 0\n")


async def goes_through(blocks: list[str], variables: Mapping[str, str], folder: Path) -> str:
    """Types one block after the other into one shell that ends at the first command which fails, as a call does that is
    not answered with success. Returns what is printed.
    """
    strict = 'set -euo pipefail\ncurl() { command curl --fail-with-body --max-time 20 "$@"; }\n'
    shell = await asyncio.create_subprocess_exec(
        "bash", cwd=folder, env={"PATH": os.environ["PATH"], **variables},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(_BLOCK_SECONDS * 2):
        printed, _ = await shell.communicate((strict + "\n".join(blocks) + "\necho\necho the end\n").encode())
    assert printed.endswith(b"\nthe end\n"), printed.decode()
    return printed.decode()
