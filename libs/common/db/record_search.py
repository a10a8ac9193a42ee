"""Finding the records of one collection: by tests of their fields and by tags, in an order, page by page.

Tests become one jsonpath: a value that we write and PostgreSQL reads, never a part of a statement. When a test is for
equality, or a tag is wanted, the path goes against `record_search`, whose index has entries of this collection alone;
else the collection is read in its order.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection
from libs.common.db.records import read_record
from libs.common.domain.record_filters import FieldTest, RecordFilter, RecordOrder, Scalar
from libs.common.domain.records import Record


class Found(msgspec.Struct, frozen=True):
    """A record and its place in the order: JSON text of a scalar, which a next page starts after."""

    record: Record
    place: str


class After(msgspec.Struct, frozen=True):
    """The last record of the page before. `place` as in `Found`: it must be the JSON text of a scalar."""

    id: UUID
    place: str


_NEWEST = """
SELECT tenant_id, collection, id, version, data, tags, created_by, updated_by, created_at, updated_at, 'null' AS place
  FROM records
 WHERE tenant_id = $1 AND collection = $2 AND ($3::uuid IS NULL OR id < $3)
   AND ($4::text IS NULL OR data @@ $4::text::jsonpath)
 ORDER BY id DESC LIMIT $5 OFFSET $6
"""
_NEWEST_MATCHING = """
SELECT tenant_id, collection, id, version, data, tags, created_by, updated_by, created_at, updated_at, 'null' AS place
  FROM records
 WHERE tenant_id = $1 AND collection = $2 AND ($3::uuid IS NULL OR id < $3)
   AND record_search(tenant_id, collection, data, tags) @@ $4::text::jsonpath
 ORDER BY id DESC LIMIT $5 OFFSET $6
"""
_SORTED = """
SELECT r.tenant_id, collection, id, version, data, tags, created_by, updated_by, created_at, updated_at,
       place::text AS place
  FROM records r CROSS JOIN LATERAL (SELECT data #> $9::text[] AS value) AS field
 CROSS JOIN LATERAL (SELECT CASE
       WHEN $7 THEN CASE $9::text[] WHEN '{updated_at}' THEN to_jsonb(extract(epoch FROM updated_at)) ELSE 'null' END
       WHEN jsonb_typeof(value) = 'string' THEN to_jsonb(left(value #>> '{}', 100))
       WHEN jsonb_typeof(value) IN ('number', 'boolean') THEN value ELSE 'null' END AS place) AS sorting
 WHERE r.tenant_id = $1 AND collection = $2
   AND ($3::uuid IS NULL OR CASE WHEN $8 THEN (place, id) < ($10::jsonb, $3) ELSE (place, id) > ($10::jsonb, $3) END)
   AND ($4::text IS NULL OR data @@ $4::text::jsonpath)
 ORDER BY CASE WHEN $8 THEN sorting.place END DESC, CASE WHEN $8 THEN id END DESC, sorting.place, id LIMIT $5 OFFSET $6
"""
_SORTED_MATCHING = """
SELECT r.tenant_id, collection, id, version, data, tags, created_by, updated_by, created_at, updated_at,
       place::text AS place
  FROM records r CROSS JOIN LATERAL (SELECT data #> $9::text[] AS value) AS field
 CROSS JOIN LATERAL (SELECT CASE
       WHEN $7 THEN CASE $9::text[] WHEN '{updated_at}' THEN to_jsonb(extract(epoch FROM updated_at)) ELSE 'null' END
       WHEN jsonb_typeof(value) = 'string' THEN to_jsonb(left(value #>> '{}', 100))
       WHEN jsonb_typeof(value) IN ('number', 'boolean') THEN value ELSE 'null' END AS place) AS sorting
 WHERE r.tenant_id = $1 AND collection = $2
   AND ($3::uuid IS NULL OR CASE WHEN $8 THEN (place, id) < ($10::jsonb, $3) ELSE (place, id) > ($10::jsonb, $3) END)
   AND record_search(r.tenant_id, collection, data, tags) @@ $4::text::jsonpath
 ORDER BY CASE WHEN $8 THEN sorting.place END DESC, CASE WHEN $8 THEN id END DESC, sorting.place, id LIMIT $5 OFFSET $6
"""


async def search_records(
    connection: Connection,
    tenant_id: UUID,
    collection: str,
    wanted: RecordFilter,
    order: RecordOrder,
    *,
    after: After | None,
    limit: int,
    offset: int,
    patience_seconds: float | None = None,
) -> list[Found]:
    """The records of a collection that fit, in order. Raises `TimeoutError` when that takes longer."""
    path = f'$."{tenant_id}/{collection}"."data"' if wanted.is_indexed else "$"
    tags = f'$."{tenant_id}/{collection}"."tags"'
    arguments: list[object] = [
        tenant_id, collection, None if after is None else after.id, _jsonpath(wanted, path, tags), limit, offset,
    ]  # fmt: skip
    if order.is_newest_first:
        text = _NEWEST_MATCHING if wanted.is_indexed else _NEWEST
    else:
        text = _SORTED_MATCHING if wanted.is_indexed else _SORTED
        place = None if after is None else after.place
        arguments += [order.is_system, order.descending, list(order.field), place]
    rows = await connection.fetch(text, *arguments, timeout=patience_seconds)
    return [Found(read_record(row), row["place"]) for row in rows]


def _jsonpath(wanted: RecordFilter, data: str, tags: str) -> str | None:
    """The filter as one predicate over paths that start with `data` or are `tags`."""
    parts = [_predicate(test, data + "".join(f".{_literal(name)}" for name in test.field)) for test in wanted.tests]
    parts += [f"{tags} == {_literal(tag)}" for tag in wanted.tags]
    return " && ".join(f"({part})" for part in parts) or None


_COMPARISONS = {"greater_than": ">", "greater_or_equal": ">=", "less_than": "<", "less_or_equal": "<="}


def _predicate(test: FieldTest, field: str) -> str:
    match test.operator:
        case "equals" | "in":
            return _any(field, "== {}", test.values)
        case "not_equals" | "not_in":
            # By what exists: a comparison of values of different kinds is neither true nor false.
            return f"!exists({field} ? ({_any('@', '== {}', test.values)}))"
        case "contains":
            return _any(field, 'like_regex {} flag "q"', test.values)
        case "starts_with":
            return _any(field, "starts with {}", test.values)
        case "exists":
            return f"exists({field})"
        case "not_exists":
            return f"!exists({field})"
        case _:
            return _any(field, f"{_COMPARISONS[test.operator]} {{}}", test.values)


def _any(field: str, comparison: str, values: Sequence[Scalar]) -> str:
    return " || ".join(f"{field} {comparison.format(_literal(value))}" for value in values)


def _literal(value: Scalar) -> str:
    """A scalar as jsonpath writes it: as JSON does."""
    return msgspec.json.encode(value).decode()
