"""Calls as a scheme sees them, and what it says of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from libs.common.domain.trigger import WebhookConfig
from libs.common.security.webhook_auth.making import Surroundings, make_scheme
from libs.common.security.webhook_auth.scheme import Scheme, Verdict
from services.webhooks.call import Call

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PUBLIC_URL = "https://hooks.example.com"
URL = f"{PUBLIC_URL}/webhooks/01a1fd89-0745-7282-87cb-0ad2561172d5?foo=1"


def scheme_of(auth: Mapping[str, Any], *secrets: str, public_url: str = PUBLIC_URL) -> Scheme:
    """The scheme of a trigger with this `auth` and these secrets."""
    typed = msgspec.convert({"auth": {**auth}}, WebhookConfig).auth
    assert typed is not None
    return make_scheme(typed, secrets, Surroundings(public_url))


def call_of(
    headers: Mapping[str, str], url: str = URL, method: str = "POST", content_type: str = "application/json"
) -> Call:
    """A call of an address with these headers."""
    parts = urlsplit(url)
    named = {"content-type": content_type, "host": parts.netloc, **headers}
    return Call(method, parts.path, parts.query, named, "192.0.2.1", "192.0.2.1", parts.path)


def verdict(
    auth: Mapping[str, Any], secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime = NOW,
    **more: Any,
) -> Verdict:  # fmt: skip
    """What a trigger with this `auth` says of a call."""
    return scheme_of(auth, *secrets).verify(call_of(headers, **more), body, now)
