"""Writes the reference of the built-in actions into docs/actions.md, from the catalogue; with --check it only says
whether what stands there is right.

usage: python scripts/describe_actions.py [--check]
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from libs.common.domain.action_type import ActionKind, ActionType  # noqa: E402
from libs.common.domain.catalogue import TYPES  # noqa: E402

PAGE = ROOT / "docs" / "actions.md"
BEGIN, END = "<!-- from the catalogue: scripts/describe_actions.py -->\n", "<!-- end of the catalogue -->\n"
GROUPS = {
    "Effects": ActionKind.EFFECT,
    "Your own data": ActionKind.LOCAL,
    "Steering and computing": ActionKind.PURE,
}
HEAD = ["| field | | default | |", "|---|---|---|---|"]


def main() -> int:
    """Exit code 1: the page is not as the catalogue says."""
    old = PAGE.read_text()
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    new = before + BEGIN + "\n".join(reference()) + "\n" + END + after
    if "--check" in sys.argv:
        return int(new != old)
    PAGE.write_text(new)
    return 0


def reference() -> Iterator[str]:
    """The lines of the reference."""
    for title, kind in GROUPS.items():
        yield f"## {title}"
        for row in TYPES:
            if row.kind is kind:
                yield from described(row)


def described(row: ActionType) -> Iterator[str]:
    """One type."""
    names = " · ".join(f"`{name}`" for name in (row.name, *row.aliases))
    yield f"### {names}"
    doubt = f" (In doubt: `{row.on_unknown}`.)" if row.kind is ActionKind.EFFECT else ""
    schema = row.config_schema
    yield f"{row.description}{doubt}" + ("" if "anyOf" in schema else "\n")
    yield from shapes(schema, schema["$defs"])
    yield f"\n```json\n{example(row)}\n```"
    if row.output is not None:
        yield f"Output: `{json.dumps(row.output, ensure_ascii=False)}`"
    yield ""


def example(row: ActionType) -> str:
    return json.dumps({"type": row.name, "config": row.example}, ensure_ascii=False)


def shapes(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """A table for the config, or for each of several, and for what is inside of them."""
    outer = [name_of(choice) for choice in schema.get("anyOf", [schema])]
    names = outer + [name for name in definitions if name not in (*outer, "Template")]
    for name in names:
        definition = definitions[name]
        tag = next((part["enum"][0] for part in definition["properties"].values() if is_tag(part)), "")
        if tag or name not in outer:
            about = " ".join(definition.get("description", "").split())
            yield f"\n**{tag or name}**: {about}\n"
        yield from HEAD
        for field, part in definition["properties"].items():
            yield row_of(field, part, field in definition.get("required", ()))


def row_of(field: str, part: dict[str, Any], required: bool) -> str:
    default = part.get("default")
    shown = "**required**" if required else "" if default in (None, [], {}, "") else f"`{json.dumps(default)}`"
    return f"| `{field}` | {kind_of(part)} | {shown} | {part.get('description', '')} |"


def kind_of(part: dict[str, Any]) -> str:
    """The type in few words; that a template may stand there goes without saying."""
    if "anyOf" in part:
        kinds = [kind_of(choice) for choice in part["anyOf"] if name_of(choice) != "Template" and not is_null(choice)]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in part:
        return name_of(part)
    if "enum" in part:
        return ", ".join(f"`{choice}`" for choice in part["enum"])
    kind: str = part.get("type", "any")
    kind = {"string": "text", "integer": "whole number", "array": "list"}.get(kind, kind)
    if kind == "list" and part.get("items"):
        kind += f" of {kind_of(part['items'])}"
    limits = [part[name] for name in ("minimum", "maximum") if name in part]
    return f"{kind} {limits[0]} to {limits[1]}" if len(limits) == 2 else kind


def name_of(part: dict[str, Any]) -> str:
    return part.get("$ref", "").rpartition("/")[2]


def is_null(part: dict[str, Any]) -> bool:
    return part == {"type": "null"}


def is_tag(part: dict[str, Any]) -> bool:
    return len(part.get("enum", ())) == 1


if __name__ == "__main__":
    sys.exit(main())
