"""The plans of an installation: those built in and those of `SIGNALBOX_PLANS`, which replace built-in ones of the same
name. Reading the limits of a tenant is a look-up in memory.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.domain.limits import BUILT_IN, Limits, limit_faults, override
from libs.common.errors import OperatorError
from libs.common.settings import Settings

_MOST_REMEMBERED = 10_000


class Plans:
    """Which limits a tenant has."""

    def __init__(self, settings: Settings) -> None:
        """Raises `OperatorError` when the settings name what is no plan."""
        self.named: Mapping[str, Limits] = {**BUILT_IN, **_read(settings.plans)}
        self.default = settings.default_plan
        if self.default not in self.named:
            raise OperatorError(f"SIGNALBOX_DEFAULT_PLAN: there is no plan {self.default!r}")
        self._known: dict[tuple[str | None, str], Limits] = {}

    def limits(self, plan: str | None, quota: str) -> Limits:
        """Of a tenant with this plan (None, or one that is gone: the default) and these limits of its own (JSON)."""
        known = self._known.get((plan, quota))
        if known is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            base = self.named.get(plan or self.default, self.named[self.default])
            known = self._known[plan, quota] = override(base, msgspec.json.decode(quota))
        return known


def _read(text: str) -> dict[str, Limits]:
    if not text:
        return {}
    try:
        given = msgspec.json.decode(text, type=dict[str, dict[str, Any]])
    except msgspec.DecodeError as error:
        raise OperatorError(f"SIGNALBOX_PLANS: {error}") from None
    faults = [fault for name, limits in given.items() for fault in limit_faults(limits, name)]
    if faults:
        raise OperatorError("SIGNALBOX_PLANS: " + "; ".join(f"{fault.path}: {fault.message}" for fault in faults))
    return {name: msgspec.convert(limits, Limits) for name, limits in given.items()}
