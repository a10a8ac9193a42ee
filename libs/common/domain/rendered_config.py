"""Reading a rendered config: templates may have given anything, so every field is checked as it is read.

Faults are collected; `done` raises all of them as one failure of the class `invalid_config`. What a reader returns
where there was a fault means nothing.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.domain.dates import read_instant, rfc3339, shift
from libs.common.domain.execution import Failure
from libs.common.domain.faults import is_object
from libs.common.domain.paths import kind_of
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.records import MAX_VERSION, data_faults, is_collection_name, tags_faults, text_problem
from libs.common.errors import Fault

MAX_AMOUNT = 10**30
_EXACT = 2**53
"""Below this a whole number read as float is the one that was written."""
_NO_ID = UUID(int=0)


class RenderedConfig:
    """One config, read field by field."""

    def __init__(self, raw: Mapping[str, Any], later: Collection[str] = ()) -> None:
        """`later`: fields that are not in `raw`, as they are not rendered yet."""
        self.raw, self.later = raw, later
        self.faults: list[Fault] = []

    def done(self) -> None:
        """Raises `ActionFailed` if there was a fault."""
        if self.faults:
            raise ActionFailed(failure_of(self.faults, "invalid_config"))

    def gives(self, *names: str) -> bool:
        """Whether one of the fields is given."""
        return any(name in self.later or self.raw.get(name) is not None for name in names)

    def fault(self, path: str, message: str) -> None:
        self.faults.append(Fault(path, message))

    def text(self, name: str, limit: int, default: str = "") -> str:
        """A text of at most `limit` characters; a number is taken as text; null is the default."""
        value = self.raw.get(name)
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self.fault(name, f"must be a text, not {kind_of(value)}")
        elif len(value) > limit:
            self.fault(name, f"has more than {limit} characters")
        elif problem := text_problem(value):
            self.fault(name, problem)
        else:
            return value
        return default

    def needed_text(self, name: str, limit: int) -> str:
        """As `text`, but not blank."""
        before, value = len(self.faults), self.text(name, limit)
        if len(self.faults) == before and not value.strip():
            self.fault(name, "must not be empty")
        return value

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        value = self.text(name, 100, default)
        if value not in choices:
            self.fault(name, f"must be one of {', '.join(choices)}")
        return value

    def collection(self) -> str:
        """The name of a collection, from the field `collection`."""
        name = self.needed_text("collection", 1_000)
        if name.strip() and not is_collection_name(name):
            self.fault("collection", "is not the name of a collection")
        return name

    def id(self) -> UUID:
        """The id of a record, from the field `id`."""
        try:
            return UUID(self.needed_text("id", 100))
        except ValueError:
            if not any(fault.path == "id" for fault in self.faults):
                self.fault("id", "is not the id of a record")
            return _NO_ID

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        """A whole number, which may be written as text."""
        value = self.raw.get(name, default)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fault(name, f"must be a whole number from {low} to {high}")
            return default
        return value

    def version(self) -> int | None:
        """The version that the record must be at, if it is asked for."""
        return None if self.raw.get("version") is None else self.whole("version", 1, MAX_VERSION, 1)

    def number(self, name: str) -> int | float | None:
        """A finite number, which may be written as text."""
        value = self.raw.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            value = _number_of(value)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < MAX_AMOUNT:
            self.fault(name, "must be a number")
            return None
        return value

    def data(self, name: str = "data") -> dict[str, Any]:
        """An object that can be stored; nothing where there is none."""
        value: object = self.raw.get(name)
        if value is None:
            return {}
        faults = data_faults(value, name)
        self.faults += faults
        return value if is_object(value) and not faults else {}

    def tags(self, name: str = "tags") -> list[str]:
        """Tags, each once; a text is one tag."""
        value: Any = self.raw.get(name)
        if value is None:
            return []
        listed = [value] if isinstance(value, str) else value
        faults = tags_faults(listed, name)
        self.faults += faults
        return [] if faults else list(dict.fromkeys(listed))

    def instant(self, name: str, now: datetime) -> str | None:
        """A time as RFC 3339 text: given as such, as a date, or relative to `now`."""
        value = self.raw.get(name)
        if value is None or value == "":
            return None
        try:
            relative = isinstance(value, str) and value.lstrip()[:1] in ("+", "-")
            return rfc3339(shift(now, value) if relative else read_instant(value))
        except ValueError as error:
            self.fault(name, str(error))
            return None


def _number_of(text: str) -> int | float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def failure_of(faults: Collection[Fault], error_class: str) -> Failure:
    """Every fault in one failure."""
    return Failure(error_class, "; ".join(f"{fault.path} {fault.message}" for fault in list(faults)[:10]))
