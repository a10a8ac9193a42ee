"""Names of events, and patterns that fit them.

A pattern is a name, or the beginning of names: `deal.*` and `deal_*` fit every name that begins with `deal.` or
`deal_`, `*` fits all but the ends of executions. The star stands at the end only, behind a separator, so that the
patterns that fit a name are few and can be looked up.
"""

import re

NAME = r"^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$(?!\n)"
"""`$` alone would let a line break pass."""
PATTERN = r"^(\*|[A-Za-z_][A-Za-z0-9_.:-]{0,127}|(?=[A-Za-z_])[A-Za-z0-9_.:-]{0,126}[_.:-]\*)$(?!\n)"

ENDS = "execution."
END_NAMES = frozenset(f"{ENDS}{status}" for status in ("completed", "failed", "cancelled", "timed_out"))
"""What the ends of executions are called. `*` alone does not fit them."""
END_PATTERNS = (*sorted(END_NAMES), f"{ENDS}*")

_IS_PATTERN = re.compile(PATTERN)
_SEPARATOR = re.compile(r"[_.:-]")


def is_pattern(text: str) -> bool:
    """Whether the text is a pattern that can be looked up."""
    return _IS_PATTERN.match(text) is not None


def patterns_for(name: str) -> tuple[str, ...]:
    """Every pattern that fits the name, the name itself first."""
    beginnings = (f"{name[: mark.end()]}*" for mark in _SEPARATOR.finditer(name))
    return (name, *beginnings) if name in END_NAMES else (name, "*", *beginnings)
