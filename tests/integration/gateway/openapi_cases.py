"""Requests made up from the description of the API: for every operation, parameters and bodies that fit it, nearly fit
it, or do not at all. Hypothesis with a fixed seed makes them, so that a case can be had again.

Not schemathesis: it would bring some forty packages, and half of its time goes into answers that are checked here in
three lines.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import strategies as st

MOST_DEPTH = 4
_WORDS = ("", "a", "name", "\x00", "ü€𝄞", "../..", "{{ input.a }}", "{{", "' OR 1=1 --", "%00", "x" * 300, "null", "-1")
_NUMBERS = (0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308)
_IDS = ("00000000-0000-0000-0000-000000000000", "018f0000-0000-7000-8000-000000000000", "no-id", "%2e%2e", "0")
_TIMES = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00Z", "soon")


class Operation(msgspec.Struct, frozen=True):
    """One operation of the description."""

    method: str
    path: str
    parameters: Sequence[Mapping[str, Any]]
    body: Mapping[str, Any] | None
    statuses: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"


class Case(msgspec.Struct, frozen=True):
    """A request: `content` None for no body."""

    path: str
    query: tuple[tuple[str, str], ...]
    content: bytes | None


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Every operation, with what its answers may be."""
    return [
        Operation(
            method, path, described.get("parameters", []),
            described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema"),
            frozenset(described["responses"]),
        )
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]  # fmt: skip


def cases(operation: Operation, schemas: Mapping[str, Any], ids: Sequence[str]) -> st.SearchStrategy[Case]:
    """Requests to this operation; `ids`: some that are there."""
    paths = st.tuples(*[_path_value(one, ids) for one in operation.parameters if one["in"] == "path"])
    names = [one["name"] for one in operation.parameters if one["in"] == "path"]
    contents = st.none() if operation.body is None else _content(_value(operation.body, schemas, 0))

    def case(made: tuple[tuple[str, ...], tuple[tuple[str, str], ...], bytes | None]) -> Case:
        return Case(_filled(operation.path, names, made[0]), made[1], made[2])

    return st.tuples(paths, _query(operation.parameters, schemas), contents).map(case)


def _filled(path: str, names: Sequence[str], values: Sequence[str]) -> str:
    for name, value in zip(names, values, strict=True):
        path = path.replace("{" + name + "}", value)
    return path


def _path_value(parameter: Mapping[str, Any], ids: Sequence[str]) -> st.SearchStrategy[str]:
    if parameter["schema"].get("format") == "uuid":
        return st.sampled_from([*ids, *_IDS])
    words = ("deals", "TOKEN", "say", "1", *_WORDS)
    return st.sampled_from([quote(word, safe="") for word in words if word])


def _query(
    parameters: Sequence[Mapping[str, Any]], schemas: Mapping[str, Any]
) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    fields = [
        st.lists(st.tuples(st.just(str(one["name"])), _value(one["schema"], schemas, 0).map(_as_text)), max_size=2)
        for one in parameters
        if one["in"] == "query"
    ]
    return st.tuples(*fields).map(lambda groups: tuple(pair for group in groups for pair in group))


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def _content(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes | None]:
    broken = st.sampled_from(
        [None, b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a":1,"a":2}', b"[" * 5_000, b"1e999"]
    )
    return st.one_of(values.map(_encode), values.map(_encode), values.map(_encode), broken)


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (OverflowError, msgspec.MsgspecError):
        return str(value).encode(errors="replace")


def _value(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    """What fits a schema most of the time, and sometimes does not."""
    return st.one_of(_fitting(schema, schemas, depth), _fitting(schema, schemas, depth), _anything())


def _anything() -> st.SearchStrategy[Any]:
    return st.sampled_from([None, True, [], {}, *_WORDS, *_NUMBERS, {"a": {"b": []}}, [[[]]], *_IDS, *_TIMES])


def _fitting(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if depth > MOST_DEPTH:
        return _anything()
    if "$ref" in schema:
        return _fitting(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth + 1)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of(*[_fitting(one, schemas, depth + 1) for one in choices])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _of_type(schema, schemas, depth)


def _of_type(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "object":
            fields: Mapping[str, Any] = schema.get("properties", {})
            required = set(schema.get("required", ()))
            values = {name: _value(one, schemas, depth + 1) for name, one in fields.items()}
            return st.fixed_dictionaries(
                {name: one for name, one in values.items() if name in required},
                optional={name: one for name, one in values.items() if name not in required},
            )
        case "array":
            return st.lists(_value(schema.get("items", {}), schemas, depth + 1), max_size=3)
        case "integer" | "number":
            return st.sampled_from([schema.get("minimum", 1), schema.get("maximum", 2), *_NUMBERS])
        case "boolean":
            return st.booleans()
        case "string":
            return st.sampled_from(_IDS if schema.get("format") == "uuid" else (*_WORDS, *_TIMES))
        case _:
            return _anything()
