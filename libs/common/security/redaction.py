"""What may be kept of a request: headers and query without credentials."""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_plus

REDACTED = "***"

_SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-gitlab-token", "x-webhook-token"}
)
_SECRET_PARTS = ("token", "secret", "password", "api-key", "api_key", "apikey")


def redact_headers(headers: Mapping[str, str], credential: str = "") -> dict[str, str]:
    """The headers (lower-case names) with every credential masked, and the one named `credential`.

    Signatures stay: they open nothing and explain a refusal.
    """
    return {
        name: REDACTED if name == credential or is_secret_header(name) else value for name, value in headers.items()
    }


def redact_query(query: str, credential: str = "") -> str:
    """The query string with the values of telling names masked, and of the one named `credential`; otherwise to the
    letter.
    """
    return "&".join(_redact_parameter(part, credential) for part in query.split("&")) if query else query


def _redact_parameter(parameter: str, credential: str) -> str:
    name, equals, _ = parameter.partition("=")
    plain = unquote_plus(name)
    return (
        f"{name}={REDACTED}"
        if equals and ((credential and plain == credential) or is_secret_header(plain.lower()))
        else parameter
    )


@lru_cache(maxsize=512)  # the same few names come with every call
def is_secret_header(name: str) -> bool:
    """Whether a header (or a parameter) of this lower-case name carries a credential."""
    return name in _SECRET_HEADERS or any(part in name for part in _SECRET_PARTS)
