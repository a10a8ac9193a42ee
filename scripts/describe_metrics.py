"""Writes the list of metrics into docs/metrics.md, from their declarations; with --check it only says whether what
stands there is right.

usage: python -m scripts.describe_metrics [--check]
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from libs.common.telemetry import metrics, states, tenants
from libs.common.telemetry.registry import DECLARED

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
BEGIN, END = "<!-- from the declarations: scripts/describe_metrics.py -->\n", "<!-- end of the declarations -->\n"
DECLARING = metrics, states, tenants
"""The modules that declare series."""


def main() -> int:
    """Exit code 1: the page is not as the declarations say."""
    old = PAGE.read_text()
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    new = before + BEGIN + "\n".join(table()) + "\n" + END + after
    if "--check" in sys.argv:
        return int(new != old)
    PAGE.write_text(new)
    return 0


def table() -> Iterator[str]:
    """The lines of the list."""
    yield "| series | kind | labels | |"
    yield "|---|---|---|---|"
    for one in sorted(DECLARED):
        labels = " ".join(f"`{label}`" for label in one.labels)
        yield f"| `{one.name}` | {one.kind} | {labels} | {one.text} |"


if __name__ == "__main__":
    sys.exit(main())
