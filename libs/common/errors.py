"""The error tree of Signalbox.

Every error that is part of the product derives from `SignalboxError`: a stable `slug` that clients and logs may rely
on, a sentence for people, and typed fields. Errors know nothing of HTTP; `problems.py` maps a slug to a status.
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with an input: where (`actions[2].config.url`) and what."""

    path: str
    message: str


class LimitShown(msgspec.Struct, frozen=True):
    """Which limit of a tenant stands in the way: its name, its value, and how much of it is used, if that is known."""

    name: str
    value: int | str
    used: int | None = None


class SignalboxError(Exception):
    """Base of all expected errors. `detail` is a sentence that may be shown to the caller."""

    slug: ClassVar[str] = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidInput(SignalboxError):
    """The input is well-formed but wrong; `faults` names every fault, not just the first."""

    slug = "invalid-input"

    def __init__(self, faults: Sequence[Fault], detail: str = "The request has faults.") -> None:
        super().__init__(detail)
        self.faults = tuple(faults)


class MalformedInput(SignalboxError):
    """The input cannot be read at all: broken JSON, too deep, not an object."""

    slug = "malformed-input"


class Unauthenticated(SignalboxError):
    """No credential, or one that is unknown, expired or revoked."""

    slug = "unauthenticated"


class Forbidden(SignalboxError):
    """The credential is good, but not for this."""

    slug = "forbidden"


class TenantSuspended(Forbidden):
    """The platform has suspended the tenant: nothing is let in until it is resumed."""

    slug = "tenant-suspended"


class TenantErased(Forbidden):
    """The tenant is being erased; it does not come back."""

    slug = "tenant-erased"


class TenantRequired(SignalboxError):
    """`X-Tenant-ID` is missing from a tenant request."""

    slug = "tenant-required"


class NotFound(SignalboxError):
    """Nothing of that id belongs to the caller's tenant."""

    slug = "not-found"


class Conflict(SignalboxError):
    """The request contradicts the present state: a name taken, an execution already ended."""

    slug = "conflict"


class StaleVersion(SignalboxError):
    """`If-Match` names another version than the stored one."""

    slug = "stale-version"


class IdempotencyMismatch(SignalboxError):
    """The `Idempotency-Key` was used before with another body."""

    slug = "idempotency-mismatch"


class MethodNotAllowed(SignalboxError):
    """The webhook does not take this HTTP method; `allowed` lists those it takes."""

    slug = "method-not-allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"This address takes {', '.join(allowed)} only.")
        self.allowed = tuple(allowed)


class TooLarge(SignalboxError):
    """The body exceeds the limit."""

    slug = "too-large"

    def __init__(self, limit_bytes: int, limit: LimitShown | None = None) -> None:
        super().__init__(f"The body is larger than {limit_bytes} bytes.")
        self.limit_bytes, self.limit = limit_bytes, limit


class UnsupportedType(SignalboxError):
    """The `Content-Type` of the body is not one that is read here."""

    slug = "unsupported-type"


class RateLimited(SignalboxError):
    """More than a tenant may have at once, or too often; worth another try after `retry_after_seconds`."""

    slug = "rate-limited"

    def __init__(self, detail: str, retry_after_seconds: int = 5, limit: LimitShown | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds, self.limit = retry_after_seconds, limit


class QuotaExceeded(SignalboxError):
    """More than the plan of the tenant has room for; waiting does not help."""

    slug = "quota-exceeded"

    def __init__(self, limit: LimitShown) -> None:
        super().__init__(f"The limit {limit.name} of this tenant is {limit.value}.")
        self.limit = limit


class Unavailable(SignalboxError):
    """Something that this needs is away for now; worth another try after `retry_after_seconds`."""

    slug = "unavailable"

    def __init__(self, detail: str, retry_after_seconds: int = 2) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class OperatorError(SignalboxError):
    """A mistake in how the installation is set up; shown as one line on the terminal, never as a trace."""

    slug = "operator-error"
