"""`python -m bench [--only PART] [--json FILE]`: run the parts, print a table, write one flat object of name →
number.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import uvloop

from bench import actions, e2e, fairness, ingress, rls, scale, scheduler, traces, up

PARTS: Mapping[str, Callable[[Path], Awaitable[dict[str, float]]]] = {
    "e2e": e2e.measure, "actions": actions.measure, "ingress": ingress.measure, "scheduler": scheduler.measure,
    "fairness": fairness.measure, "rls": rls.measure, "scale": scale.measure, "traces": traces.measure,
    "up": up.measure,
}  # fmt: skip


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), help="one part instead of all")
    parser.add_argument("--json", type=Path, help="file for the figures")
    chosen = parser.parse_args()
    figures: dict[str, float] = {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name in [chosen.only] if chosen.only else PARTS:
            with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as folder:
                figures |= runner.run(_one(PARTS[name], Path(folder)))
    for name, value in sorted(figures.items()):
        print(f"{name:36} {value:12.2f}")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


async def _one(measure: Callable[[Path], Awaitable[dict[str, float]]], folder: Path) -> dict[str, float]:
    folder.chmod(0o755)  # PostgreSQL does not run as root: its own account must get through
    return await measure(folder)


if __name__ == "__main__":
    sys.exit(main())
