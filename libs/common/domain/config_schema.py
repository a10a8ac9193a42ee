"""The JSON Schema of an action's config, as users see it: like validation it takes a template wherever a value will be,
and no field that it does not know.
"""

from typing import Any

import msgspec

from libs.common.domain.action_config import structs_of

_TEMPLATE = "Template"
_TEMPLATE_SCHEMA = {
    "type": "string",
    "pattern": r"\{\{|\$\{",
    "description": "A text with an expression, {{ … }}, which gives the value when the action runs.",
}
_ABOUT = ("description", "default", "title", "examples")
_LIMITS = ("pattern", "minLength", "maxLength", "format")


def config_schema(wanted: Any) -> dict[str, Any]:
    """JSON Schema 2020-12 of a struct, or of a union of structs."""
    schema = msgspec.json.schema(wanted)
    tags = {struct.__struct_config__.tag_field for struct in structs_of(wanted)}
    definitions = {name: _definition(part, tags) for name, part in schema.pop("$defs", {}).items()}
    return {**schema, "$defs": {**definitions, _TEMPLATE: _TEMPLATE_SCHEMA}}


def _definition(part: dict[str, Any], tags: set[str | None]) -> dict[str, Any]:
    if "properties" not in part:
        return part
    properties = {
        name: inner if _is_tag(name, inner, tags) else _opened(inner) for name, inner in part["properties"].items()
    }
    return {**part, "properties": properties, "additionalProperties": False}


def _is_tag(name: str, schema: dict[str, Any], tags: set[str | None]) -> bool:
    # A nested union has a tag too, and its name is not among those of the outer one: it is the field with one choice.
    return name in tags or len(schema.get("enum", ())) == 1


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or a template in place of its value, at every depth."""
    about = {name: value for name, value in schema.items() if name in _ABOUT}
    inner = _opened_inside({name: value for name, value in schema.items() if name not in _ABOUT})
    if _takes_any_text(inner):
        return {**about, **inner}
    choices = inner["anyOf"] if set(inner) == {"anyOf"} else [inner]
    return {**about, "anyOf": [*choices, {"$ref": f"#/$defs/{_TEMPLATE}"}]}


def _opened_inside(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with what its lists and objects hold opened, itself not."""
    opened = dict(schema)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            opened[name] = _opened(schema[name])
    if "anyOf" in schema:
        opened["anyOf"] = [_opened_inside(choice) for choice in schema["anyOf"]]
    return opened


def _takes_any_text(schema: dict[str, Any]) -> bool:
    if not schema or any(_takes_any_text(choice) for choice in schema.get("anyOf", ())):
        return True
    return schema.get("type") == "string" and not any(name in schema for name in _LIMITS)
