"""JSON Schema: instances are judged with their paths, and nothing outside of the schema is ever read."""

from typing import Any

import pytest

from libs.common.domain.json_schema import instance_faults, schema_faults

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z]+$"},
        "items": {"type": "array", "items": {"type": "integer"}},
    },
}


def test_faults_of_an_instance_have_paths() -> None:
    faults = instance_faults(SCHEMA, {"id": "A1", "items": [1, "x"]}, "input")
    assert [fault.path for fault in faults] == ["input.id", "input.items[1]"]
    assert instance_faults(SCHEMA, {"id": "abc", "items": [1]}, "input") == []
    assert [fault.path for fault in instance_faults(SCHEMA, {}, "")] == [""]


@pytest.mark.parametrize("schema", [True, {}, SCHEMA, {"$defs": {"a": {}}, "$ref": "#/$defs/a"}])
def test_good_schemas(schema: Any) -> None:
    assert schema_faults(schema, "s") == []


@pytest.mark.parametrize(
    "schema",
    [
        5,
        {"type": "nope"},
        {"properties": {"a": {"$ref": "https://example.com/x"}}},
        {"$ref": "/etc/passwd"},
        {"$dynamicRef": "file:///x"},
        {"$schema": "https://example.com/own-dialect"},
        {"$ref": "#/nowhere"},
        {"pattern": "("},
        {"pattern": "a" * 600},
    ],
)
def test_bad_schemas(schema: Any) -> None:
    assert [fault.path for fault in schema_faults(schema, "s")] == ["s"]
