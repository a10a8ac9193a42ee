"""The `signalbox` command as a child process that is run to its end."""

import asyncio
import os
import sys

from tests.servers import ROOT


async def signalbox(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run the command to its end: exit code, stdout, stderr. No other `SIGNALBOX_…` setting reaches it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", *arguments, cwd=ROOT, env={**inherited, **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def mistake(*arguments: str, **settings: str) -> str:
    """What the command says of a mistake of the operator: exit code 1, nothing on stdout, one line on stderr."""
    code, output, errors = await signalbox(*arguments, **settings)
    assert (code, output, errors.count("\n")) == (1, "", 1), errors
    assert errors.startswith("signalbox: ")
    return errors.removeprefix("signalbox: ").rstrip("\n")
