"""Writes docs/configuration.md from the settings; with --check it only says whether what stands there is right.

usage: python scripts/describe_settings.py [--check]
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from libs.common.settings import FILE_SUFFIX, PREFIX, Networks, Secret, Settings, is_secret  # noqa: E402

PAGE = ROOT / "docs" / "configuration.md"
HEAD = f"""# Configuration

<!-- written by scripts/describe_settings.py: change the settings, then run it -->
Every setting is an environment variable. `signalbox settings` shows what a process would take, secrets masked. A
mistake in any of them is one line that names all of them, and exit code 1. Changes count from the next start. What the
important ones mean in operation: [operating.md](operating.md).

A **secret** may stand in a file instead: the name with `{FILE_SUFFIX}` behind it gives the path, as in
`{PREFIX}DATABASE_URL{FILE_SUFFIX}=/run/secrets/database_url`. A line break at its end is left out. Giving both is a
mistake.

| variable | kind | default | |
|---|---|---|---|
"""
KINDS = {Secret: "secret", str: "text", int: "number", float: "number", Networks: "networks"}


def main() -> int:
    """Exit code 1: the page is not as the settings say."""
    new = HEAD + "\n".join(rows()) + "\n"
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text() != new)
    PAGE.write_text(new)
    return 0


def rows() -> Iterator[str]:
    """One row a setting."""
    for field in msgspec.structs.fields(Settings):
        default = "" if is_secret(field) and not field.default else str(field.default)
        shown = f"`{field.default.reveal()}`" if default and is_secret(field) else f"`{default}`" if default else ""
        meaning = field.type.__metadata__[0].description
        yield f"| `{PREFIX}{field.name.upper()}` | {kind(field.type)} | {shown} | {meaning} |"


def kind(annotated: Any) -> str:
    """What may stand there, with its bounds."""
    choices = getattr(annotated.__origin__, "__args__", None)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    meta = annotated.__metadata__[0]
    bounds = f"{meta.ge:g} to {meta.le:g}" if meta.ge is not None and meta.le is not None else ""
    if isinstance(meta.le, int) and meta.le >= 1_000_000:
        bounds = f"{meta.ge} to {meta.le}"
    return " ".join(part for part in (KINDS[annotated.__origin__], bounds) if part)


if __name__ == "__main__":
    sys.exit(main())
