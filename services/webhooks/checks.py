"""Who is calling? One function for each way a webhook trigger can be told to check, all in constant time.

A check answers None, or the name of what failed, which stands in the log of calls and in the metrics. The caller is
told no more than "401": which part of a credential was wrong is nobody's business.
"""

from datetime import datetime

import msgspec

from libs.common.domain.trigger import ApiKeyAuth, BearerAuth, HmacAuth, NoAuth, WebhookConfig
from libs.common.security.credentials import constant_time_equal
from libs.common.security.signatures import HmacSpec, verify_hmac
from services.webhooks.call import Call

BAD_TOKEN = "bad_token"  # noqa: S105 - the name of a check
TOKEN_HEADER = "x-webhook-token"  # noqa: S105 - the name of a header


class Credentials(msgspec.Struct, frozen=True):
    """What a trigger compares with: its address token, the token of its auth, or its signature scheme."""

    address_token: str
    token: str
    hmac: HmacSpec | None

    def __repr__(self) -> str:
        return "Credentials(***)"


def make_credentials(config: WebhookConfig, address_token: str, secrets: dict[str, str]) -> Credentials:
    """The credentials of a trigger from its config and its opened secrets."""
    auth = config.auth
    if not isinstance(auth, HmacAuth):
        return Credentials(address_token, secrets.get("secret", ""), None)
    spec = HmacSpec(
        secrets=(secrets["secret"].encode(),),
        header=auth.header.lower(),
        algorithm=auth.algorithm,
        encoding=auth.encoding,
        prefix=auth.prefix,
        timestamp_header=auth.timestamp_header.lower() if auth.timestamp_header else None,
        signed_content=auth.content_template,
        tolerance_seconds=auth.tolerance_seconds,
    )
    return Credentials(address_token, "", spec)


def failed_check(
    config: WebhookConfig, credentials: Credentials, call: Call, path_token: str | None, body: bytes, now: datetime
) -> str | None:
    """The name of the check that the call fails, or None. A token in the path must be right whatever else is asked
    for.
    """
    if path_token is not None and not constant_time_equal(path_token, credentials.address_token):
        return BAD_TOKEN
    match config.auth:
        case NoAuth():
            return None
        case None:
            presented = path_token or call.header(TOKEN_HEADER) or _bearer(call)
            return _compare(presented, credentials.address_token)
        case BearerAuth():
            return _compare(_bearer(call), credentials.token)
        case ApiKeyAuth(header=header):
            return _compare(call.header(header.lower()), credentials.token)
        case HmacAuth():
            assert credentials.hmac is not None  # make_credentials gives one to every HmacAuth
            return verify_hmac(body, call.headers, credentials.hmac, now).failed_check


def _bearer(call: Call) -> str:
    scheme, _, token = call.header("authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _compare(presented: str, expected: str) -> str | None:
    if not presented:
        return "missing_token"
    return None if expected and constant_time_equal(presented, expected) else BAD_TOKEN
