"""Values of executions as clients see them: as they are stored, or, when they are large, a link to them.

Which are large is decided in PostgreSQL, so that their bytes leave it only when somebody asks for one of them.
"""

from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from libs.common.db.execution_views import StoredAttempt, StoredValue

ValueName: TypeAlias = Literal["input", "output", "error"]


class LargeValue(msgspec.Struct, frozen=True):
    """`bytes`: of its JSON text; `url`: where all of it is; `preview`: its first 200 characters."""

    bytes: int
    url: str
    preview: str


class LinkedValue(msgspec.Struct, frozen=True):
    """What stands in the place of a large value."""

    large_value: LargeValue


def execution_value(execution_id: UUID, name: ValueName, value: StoredValue | None) -> Any:
    """An execution's value."""
    return _shown(value, f"/api/v1/executions/{execution_id}/values/{name}")


def attempt_value(execution_id: UUID, row: StoredAttempt, name: ValueName, value: StoredValue | None) -> Any:
    """A value of one attempt of that execution."""
    place = f"{row.position}/{row.iteration}/{row.attempt}"
    return _shown(value, f"/api/v1/executions/{execution_id}/values/actions/{place}/{name}")


def _shown(value: StoredValue | None, url: str) -> msgspec.Raw | LinkedValue | None:
    """Stored JSON text goes out to the letter, and is not parsed on the way."""
    if value is None:
        return None
    return msgspec.Raw(value.text.encode()) if value.whole else LinkedValue(LargeValue(value.size, url, value.text))
