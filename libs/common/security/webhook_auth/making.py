"""From the `auth` of a trigger and its opened secrets to the scheme that checks its calls."""

from collections.abc import Sequence

import msgspec

from libs.common.domain.webhook_auth import (
    ApiKeyAuth,
    BasicAuth,
    BearerAuth,
    DiscordAuth,
    Ed25519Auth,
    GitHubAuth,
    GitLabAuth,
    HmacAuth,
    HubSpotAuth,
    JwtAuth,
    LinearAuth,
    MtlsAuth,
    NoAuth,
    ShopifyAuth,
    SlackAuth,
    StandardWebhooksAuth,
    StripeAuth,
    TwilioAuth,
    WebhookAuth,
    ZoomAuth,
    all_public_keys,
)
from libs.common.security.jwt import Expected
from libs.common.security.signatures import HmacSpec
from libs.common.security.webhook_auth import keyed
from libs.common.security.webhook_auth.addressed import HubSpotScheme, TwilioScheme
from libs.common.security.webhook_auth.client_certificate import CertificateScheme, Networks
from libs.common.security.webhook_auth.ed25519 import Ed25519Scheme, Ed25519Spec, discord, load_keys
from libs.common.security.webhook_auth.jwt import JwtScheme, key_checks, secret_checks
from libs.common.security.webhook_auth.scheme import Scheme
from libs.common.security.webhook_auth.standard import (
    KEY_PREFIX,
    StandardKeyScheme,
    StandardScheme,
    standard_secrets,
)
from libs.common.security.webhook_auth.stripe import StripeScheme
from libs.common.security.webhook_auth.tokens import BasicScheme, BearerScheme, HeaderScheme, OpenScheme, QueryScheme


class Surroundings(msgspec.Struct, frozen=True):
    """What of the installation schemes depend on: its public address (empty: the call's own), and the networks of
    proxies that are believed.
    """

    public_url: str = ""
    trusted_proxies: Networks = ()


def make_scheme(auth: WebhookAuth, texts: Sequence[str], surroundings: Surroundings) -> Scheme:
    """The scheme; `texts`: every secret that is valid, the newest first."""
    return _token_scheme(auth, tuple(texts)) or _vendor_scheme(auth, tuple(texts), surroundings)


def _token_scheme(auth: WebhookAuth, texts: tuple[str, ...]) -> Scheme | None:
    match auth:
        case NoAuth():
            return OpenScheme()
        case BearerAuth():
            return BearerScheme(texts)
        case ApiKeyAuth(query=str(parameter)):
            return QueryScheme(texts, parameter)
        case ApiKeyAuth(header=header):
            return HeaderScheme(texts, header.lower())
        case BasicAuth(username=username):
            return BasicScheme(username, texts)
        case GitLabAuth(signed=False):
            return HeaderScheme(texts, "x-gitlab-token")
        case _:
            return None


def _vendor_scheme(auth: WebhookAuth, texts: tuple[str, ...], surroundings: Surroundings) -> Scheme:
    secrets = tuple(text.encode() for text in texts)
    match auth:
        case GitHubAuth():
            return keyed.github(secrets)
        case ShopifyAuth():
            return keyed.shopify(secrets)
        case SlackAuth(tolerance_seconds=tolerance):
            return keyed.slack(secrets, tolerance)
        case ZoomAuth(tolerance_seconds=tolerance):
            return keyed.zoom(secrets, tolerance)
        case LinearAuth(tolerance_seconds=tolerance):
            return keyed.linear(secrets, tolerance)
        case StripeAuth(tolerance_seconds=tolerance):
            return StripeScheme(secrets, tolerance)
        case TwilioAuth():
            return TwilioScheme(secrets, surroundings.public_url)
        case HubSpotAuth(tolerance_seconds=tolerance):
            return HubSpotScheme(secrets, surroundings.public_url, tolerance)
        case GitLabAuth(tolerance_seconds=tolerance):
            return StandardScheme(standard_secrets(texts), tolerance)
        case _:
            return _general_scheme(auth, texts, surroundings)


def _general_scheme(auth: WebhookAuth, texts: tuple[str, ...], surroundings: Surroundings) -> Scheme:
    match auth:
        case HmacAuth():
            return keyed.KeyedScheme(_hmac_spec(auth, texts))
        case Ed25519Auth():
            return Ed25519Scheme(load_keys(all_public_keys(auth)), _ed25519_spec(auth))
        case DiscordAuth(tolerance_seconds=tolerance):
            return discord(load_keys(all_public_keys(auth)), tolerance)
        case StandardWebhooksAuth(tolerance_seconds=tolerance) if all_public_keys(auth):
            return StandardKeyScheme(load_keys(all_public_keys(auth), KEY_PREFIX), tolerance)
        case StandardWebhooksAuth(tolerance_seconds=tolerance):
            return StandardScheme(standard_secrets(texts), tolerance)
        case JwtAuth():
            return _jwt(auth, texts)
        case MtlsAuth(header=header, subjects=subjects, spki_sha256=fingerprints):
            return CertificateScheme(
                header.lower(), frozenset(subjects), frozenset(fingerprints), surroundings.trusted_proxies
            )
        case _:
            raise AssertionError(f"no scheme for {type(auth).__name__}")


def _hmac_spec(auth: HmacAuth, texts: tuple[str, ...]) -> HmacSpec:
    return HmacSpec(
        tuple(text.encode() for text in texts), auth.header.lower(), auth.algorithm, auth.encoding, auth.prefix,
        _lower(auth.timestamp_header), _lower(auth.id_header), auth.content_template, auth.tolerance_seconds,
    )  # fmt: skip


def _ed25519_spec(auth: Ed25519Auth) -> Ed25519Spec:
    return Ed25519Spec(
        auth.header.lower(), auth.encoding, auth.prefix, _lower(auth.timestamp_header), _lower(auth.id_header),
        auth.content_template, auth.tolerance_seconds,
    )  # fmt: skip


def _jwt(auth: JwtAuth, texts: tuple[str, ...]) -> JwtScheme:
    by_secret = auth.algorithm.startswith("HS")
    checks = (
        secret_checks(auth.algorithm, [text.encode() for text in texts])
        if by_secret
        else key_checks(auth.algorithm, all_public_keys(auth))
    )
    expected = Expected(auth.issuer, auth.audience, auth.leeway_seconds)
    return JwtScheme(auth.algorithm, checks, by_secret, expected, auth.header.lower())


def _lower(name: str | None) -> str | None:
    return None if name is None else name.lower()
