"""Local actions: writes to our own data in the journal's transaction."""

from typing import Any

import msgspec

from libs.common.domain.execution import Failure


class LocalResult(msgspec.Struct, frozen=True):
    """What a local action gave, or why it failed."""

    output: Any = None
    failure: Failure | None = None
