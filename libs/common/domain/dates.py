"""Dates as templates use them: reading RFC 3339 text, relative shifts such as `+3 days`, and formatting.

Pure arithmetic on aware datetimes; days and longer are calendar units in UTC, so `+1 month` from 31 January is 28 or
29 February.
"""

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_SHIFT = re.compile(r"\s*([+-])?\s*(\d{1,7})\s*(second|minute|hour|day|week|month|year)s?\s*", re.IGNORECASE)
_DIRECTIVES = frozenset("YmdHMSjaAbBpIyzZf%")
_MAX_FORMAT = 64


def rfc3339(instant: datetime) -> str:
    """An instant as RFC 3339 text in UTC (`2026-11-21T09:00:00Z`); without a zone it is taken as UTC."""
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_instant(value: Any) -> datetime:
    """A datetime, RFC 3339 text, a date (midnight UTC) or seconds since 1970 as an aware datetime in UTC. Raises
    `ValueError`.
    """
    try:
        if isinstance(value, datetime):
            instant = value
        elif isinstance(value, str):
            instant = datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        else:
            raise ValueError("not a date")
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{str(value)[:60]!r} is not a date or time") from None


def shift(instant: datetime, text: str) -> datetime:
    """`instant` moved by `+3 days`, `-1 week`, `+1 month 2 hours` …; a part without sign keeps the one before. Raises
    `ValueError`.
    """
    position, sign = 0, "+"
    try:
        while position < len(text) or position == 0:
            part = _SHIFT.match(text, position) if len(text) <= _MAX_FORMAT else None
            if part is None:
                raise ValueError(f"{text[:60]!r} is not a shift such as '+3 days'")
            sign = part[1] or sign
            instant = _move(instant, int(part[2]) * (-1 if sign == "-" else 1), part[3].lower())
            position = part.end()
    except OverflowError:
        raise ValueError(f"{text!r} leads out of the calendar") from None
    return instant


def _move(instant: datetime, amount: int, unit: str) -> datetime:
    if unit not in ("month", "year"):
        return instant + timedelta(**{f"{unit}s": amount})
    months = instant.year * 12 + instant.month - 1 + amount * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    return instant.replace(year=year, month=month + 1, day=min(instant.day, calendar.monthrange(year, month + 1)[1]))


def format_instant(instant: datetime, pattern: str, zone: str = "UTC") -> str:
    """`instant` in an IANA zone by a strftime pattern of plain directives (`%Y-%m-%d`). Raises `ValueError`."""
    if len(pattern) > _MAX_FORMAT:
        raise ValueError(f"a date pattern has at most {_MAX_FORMAT} characters")
    for directive in re.findall(r"%(.?)", pattern):
        if directive not in _DIRECTIVES or not directive:
            raise ValueError(f"%{directive} is not known in a date pattern")
    return instant.astimezone(read_zone(zone)).strftime(pattern)


def read_zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises `ValueError` that names it."""
    try:
        return ZoneInfo(name)
    except Exception:  # noqa: BLE001  zoneinfo raises KeyError, ValueError, OSError … by the shape of the name
        raise ValueError(f"{name[:60]!r} is not a time zone of the IANA database") from None
