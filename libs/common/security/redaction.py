"""What may be kept of a request: headers without credentials."""

from collections.abc import Mapping

REDACTED = "***"

_SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-gitlab-token", "x-webhook-token"}
)
_SECRET_PARTS = ("token", "secret", "password", "api-key", "apikey")


def redact_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers (lower-case names) with every credential masked. Signatures stay: they open nothing and explain a
    refusal.
    """
    return {name: REDACTED if is_secret_header(name) else value for name, value in headers.items()}


def is_secret_header(name: str) -> bool:
    """Whether a header of this lower-case name carries a credential."""
    return name in _SECRET_HEADERS or any(part in name for part in _SECRET_PARTS)
