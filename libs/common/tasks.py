"""Ending what goes on in the background. Whoever has begun a task keeps it, and ends it when it is closed itself."""

import asyncio
from typing import Any


async def end_tasks(*tasks: "asyncio.Task[Any] | None") -> None:
    """They are over: those that were under way have been cancelled, and are waited for. None: it was never begun.

    What a task has raised is not raised again here, since nothing that is still to be closed may be left open; asyncio
    logs it.
    """
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    if begun:
        await asyncio.wait(begun)
