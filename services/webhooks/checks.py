"""Who is calling? What a trigger asks for, made ready once, and the one question that is asked of every call.

The verdict is None or the name of the check that failed, which stands in the log of calls and in the metrics. The
caller is told no more than "401": which part of a credential was wrong is nobody's business.
"""

from datetime import datetime

import msgspec

from libs.common.domain.trigger import WebhookConfig
from libs.common.domain.webhook_auth import credential_header, credential_parameter
from libs.common.security.credentials import constant_time_equal
from libs.common.security.redaction import redact_headers, redact_query
from libs.common.security.trigger_secrets import TriggerSecret
from libs.common.security.webhook_auth.making import Surroundings, make_scheme
from libs.common.security.webhook_auth.scheme import BAD_TOKEN, Scheme, Verdict, compare
from libs.common.security.webhook_auth.tokens import bearer_token
from services.webhooks.call import Call
from services.webhooks.secret_uses import SecretUses, UsedSecret

TOKEN_HEADER = "x-webhook-token"  # noqa: S105 - the name of a header


class Credentials(msgspec.Struct, frozen=True):
    """What a trigger compares with: its address token, and the scheme over the secrets that are valid until `until`;
    from then on `later` counts. Without a scheme the call must bring the token of the address.
    """

    address_token: str
    scheme: Scheme | None
    secrets: tuple[UsedSecret, ...] = ()
    uses: SecretUses | None = None
    until: datetime | None = None
    later: "Credentials | None" = None

    def __repr__(self) -> str:
        return "Credentials(***)"


def make_credentials(
    config: WebhookConfig, address_token: str, secrets: tuple[TriggerSecret, ...] = (),
    surroundings: Surroundings | None = None, uses: SecretUses | None = None, owner: UsedSecret | None = None,
) -> Credentials:  # fmt: skip
    """The credentials of a trigger from its config and its opened secrets, the newest first.

    `uses` takes note of the secrets used; `owner` says whose they are.
    """
    if config.auth is None:
        return Credentials(address_token, None)
    scheme = make_scheme(config.auth, [secret.value for secret in secrets], surroundings or Surroundings())
    ids = tuple(UsedSecret(owner.tenant_id, owner.trigger_id, secret.id) for secret in secrets) if owner else ()
    until = min((secret.valid_until for secret in secrets if secret.valid_until), default=None)
    later = None
    if until is not None:
        left = tuple(secret for secret in secrets if secret.valid_until != until)
        later = make_credentials(config, address_token, left, surroundings, uses, owner)
    return Credentials(address_token, scheme, ids, uses, until, later)


def authenticate(
    config: WebhookConfig, credentials: Credentials, call: Call, path_token: str | None, body: bytes, now: datetime
) -> Verdict:
    """The verdict on a call. A token in the path must be right whatever else is asked for."""
    if path_token is not None and not constant_time_equal(path_token, credentials.address_token):
        return Verdict(BAD_TOKEN)
    if credentials.until is not None and credentials.later is not None and now >= credentials.until:
        return authenticate(config, credentials.later, call, path_token, body, now)
    if credentials.scheme is None:
        presented = path_token or call.header(TOKEN_HEADER) or bearer_token(call)
        return compare(presented, [credentials.address_token])
    verdict = credentials.scheme.verify(call, body, now)
    index = verdict.secret_index
    if index is not None and credentials.uses is not None and index < len(credentials.secrets):
        credentials.uses.note(credentials.secrets[index], now)
    return verdict


def without_credentials(config: WebhookConfig, call: Call) -> Call:
    """The call as it may be kept, shown and given to the workflow."""
    return msgspec.structs.replace(
        call,
        query=redact_query(call.query, credential_parameter(config.auth)),
        headers=redact_headers(call.headers, credential_header(config.auth)),
    )
