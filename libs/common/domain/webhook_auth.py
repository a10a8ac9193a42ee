"""How a webhook trigger tells its caller from everybody else: the typed form of `auth` for each of its types.

Values only. What checks a call against them stands in `libs.common.security.webhook_auth`, what finds their faults in
`webhook_auth_validation`. A secret is a field here only while a definition is on its way in: what is stored has none.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
HeaderName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}$")]
ParameterName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.~-]{1,64}$")]
PublicKey = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
PublicKeys = Annotated[tuple[PublicKey, ...], msgspec.Meta(max_length=5)]
Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Fingerprint = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Tolerance = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
Prefix = Annotated[str, msgspec.Meta(max_length=32)]
Content = Annotated[str, msgspec.Meta(max_length=256)]
Algorithm: TypeAlias = Literal["sha256", "sha512", "sha384", "sha1"]
Encoding: TypeAlias = Literal["hex", "base64", "base64url"]
JwtAlgorithm: TypeAlias = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip


class _Auth(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", forbid_unknown_fields=True):
    """What all of them have in common."""


class NoAuth(_Auth, frozen=True, tag="none"):
    """Whoever knows the address may call it."""


class BearerAuth(_Auth, frozen=True, tag="bearer"):
    """`Authorization: Bearer <token>`. A token left out is generated."""

    token: Secret | None = None


class ApiKeyAuth(_Auth, frozen=True, tag="api_key"):
    """The token in a header, or in the parameter of the address that `query` names. A token left out is generated."""

    token: Secret | None = None
    header: HeaderName = "X-API-Key"
    query: ParameterName | None = None


class BasicAuth(_Auth, frozen=True, tag="basic"):
    """Name and password (RFC 7617). A password left out is generated."""

    username: Annotated[str, msgspec.Meta(pattern=r"^[^:\x00-\x1f]{1,200}$")]
    password: Secret | None = None


class HmacAuth(_Auth, frozen=True, tag="hmac"):
    """A signature over the raw body in a header, by default `X-Signature-256: <hex of HMAC-SHA256>`.

    With `timestamp_header` (seconds since 1970) the call must be at most `tolerance_seconds` away from now. What is
    signed is `signed_content`, in which `{timestamp}`, `{id}` (the value of `id_header`) and `{body}` stand for their
    values; without it, the parts that there are, joined by points. A secret left out is generated.
    """

    secret: Secret | None = None
    header: HeaderName = "X-Signature-256"
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: Prefix = ""
    timestamp_header: HeaderName | None = None
    id_header: HeaderName | None = None
    tolerance_seconds: Tolerance = 300
    signed_content: Content | None = None

    @property
    def content_template(self) -> str:
        """What is signed: the given template, or the default that fits the headers there are."""
        return self.signed_content or _default_content(self.id_header, self.timestamp_header)


class Ed25519Auth(_Auth, frozen=True, tag="ed25519"):
    """As `hmac`, with Ed25519 signatures (RFC 8032) of any of the public keys (hex, base64 or PEM)."""

    public_key: PublicKey | None = None
    public_keys: PublicKeys = ()
    header: HeaderName = "X-Signature-Ed25519"
    encoding: Encoding = "hex"
    prefix: Prefix = ""
    timestamp_header: HeaderName | None = None
    id_header: HeaderName | None = None
    tolerance_seconds: Tolerance = 300
    signed_content: Content | None = None

    @property
    def content_template(self) -> str:
        """As of `HmacAuth`."""
        return self.signed_content or _default_content(self.id_header, self.timestamp_header)


class JwtAuth(_Auth, frozen=True, tag="jwt"):
    """A JSON Web Token (RFC 7519) in `Authorization: Bearer`, or in another header.

    `HS…` takes a secret (left out, it is generated), the others public keys in PEM. `exp` is required; `iss` and
    `aud` must be as said here, when they are.
    """

    algorithm: JwtAlgorithm = "HS256"
    secret: Secret | None = None
    public_key: PublicKey | None = None
    public_keys: PublicKeys = ()
    issuer: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    audience: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    leeway_seconds: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 30
    header: HeaderName = "Authorization"


class MtlsAuth(_Auth, frozen=True, tag="mtls"):
    """The client certificate that a trusted proxy has verified and passes on.

    In `header` stands the certificate (RFC 9440) or its subject as text (RFC 4514). Any of `subjects`, or of the
    certificates' public keys by `spki_sha256` (hex), may call.
    """

    header: HeaderName = "Client-Cert"
    subjects: Annotated[tuple[Subject, ...], msgspec.Meta(max_length=50)] = ()
    spki_sha256: Annotated[tuple[Fingerprint, ...], msgspec.Meta(max_length=50)] = ()


class _Preset(_Auth, frozen=True):
    """A vendor's own scheme with the vendor's secret."""

    secret: Secret | None = None


class GitHubAuth(_Preset, frozen=True, tag="github"):
    """`X-Hub-Signature-256`; SHA-1 is not looked at."""


class StripeAuth(_Preset, frozen=True, tag="stripe"):
    """`Stripe-Signature: t=…,v1=…`; the secret is the whole `whsec_…`."""

    tolerance_seconds: Tolerance = 300


class SlackAuth(_Preset, frozen=True, tag="slack"):
    """`X-Slack-Signature: v0=…` with the signing secret of the app; `url_verification` is answered."""

    tolerance_seconds: Tolerance = 300


class ShopifyAuth(_Preset, frozen=True, tag="shopify"):
    """`X-Shopify-Hmac-SHA256` with the secret of the app."""


class GitLabAuth(_Preset, frozen=True, tag="gitlab"):
    """`X-Gitlab-Token` as the secret itself; `signed`: a signing token instead, after Standard Webhooks."""

    signed: bool = False
    tolerance_seconds: Tolerance = 300


class TwilioAuth(_Preset, frozen=True, tag="twilio"):
    """`X-Twilio-Signature` over address and parameters; the secret is the account's auth token."""


class DiscordAuth(_Auth, frozen=True, tag="discord"):
    """`X-Signature-Ed25519` of the application's public key; PING is answered."""

    public_key: PublicKey | None = None
    public_keys: PublicKeys = ()
    tolerance_seconds: Tolerance = 300


class LinearAuth(_Preset, frozen=True, tag="linear"):
    """`Linear-Signature`, and `webhookTimestamp` in the body."""

    tolerance_seconds: Tolerance = 60


class ZoomAuth(_Preset, frozen=True, tag="zoom"):
    """`x-zm-signature: v0=…` with the app's secret token; `endpoint.url_validation` is answered."""

    tolerance_seconds: Tolerance = 300


class HubSpotAuth(_Preset, frozen=True, tag="hubspot"):
    """`X-HubSpot-Signature-v3` over method, address, body and time, with the client secret of the app."""

    tolerance_seconds: Tolerance = 300


class StandardWebhooksAuth(_Preset, frozen=True, tag="standard_webhooks"):
    """`webhook-signature` (or `svix-signature`): `v1` by a secret `whsec_…`, or `v1a` by public keys `whpk_…`."""

    public_key: PublicKey | None = None
    public_keys: PublicKeys = ()
    tolerance_seconds: Tolerance = 300


WebhookAuth: TypeAlias = (
    NoAuth | BearerAuth | ApiKeyAuth | BasicAuth | HmacAuth | Ed25519Auth | JwtAuth | MtlsAuth | GitHubAuth | StripeAuth
    | SlackAuth | ShopifyAuth | GitLabAuth | TwilioAuth | DiscordAuth | LinearAuth | ZoomAuth | HubSpotAuth
    | StandardWebhooksAuth
)  # fmt: skip

AUTH_TYPES: Mapping[str, type[msgspec.Struct]] = {
    "none": NoAuth, "api_key": ApiKeyAuth, "bearer": BearerAuth, "basic": BasicAuth, "hmac": HmacAuth, "jwt": JwtAuth,
    "ed25519": Ed25519Auth, "mtls": MtlsAuth, "github": GitHubAuth, "stripe": StripeAuth, "slack": SlackAuth,
    "shopify": ShopifyAuth, "gitlab": GitLabAuth, "twilio": TwilioAuth, "discord": DiscordAuth, "linear": LinearAuth,
    "zoom": ZoomAuth, "hubspot": HubSpotAuth, "standard_webhooks": StandardWebhooksAuth,
}  # fmt: skip

_OTHER_SECRET_FIELDS = {
    "none": None, "ed25519": None, "discord": None, "mtls": None, "bearer": "token", "api_key": "token",
    "basic": "password",
}  # fmt: skip


def secret_field(auth: Mapping[str, Any]) -> str | None:
    """Which field of an `auth` holds its secret; `None` when it has none, as where public keys are in its place."""
    kind: object = auth.get("type")
    if not isinstance(kind, str) or kind not in AUTH_TYPES:
        return None
    if kind == "jwt":
        return "secret" if str(auth.get("algorithm", "HS256")).startswith("HS") else None
    if kind == "standard_webhooks" and (auth.get("public_key") or auth.get("public_keys")):
        return None
    return _OTHER_SECRET_FIELDS.get(kind, "secret")


def wants_standard_secret(auth: Mapping[str, Any]) -> bool:
    """Whether the secret is a key in base64, as Standard Webhooks have it, and not any text."""
    kind: object = auth.get("type")
    return kind == "standard_webhooks" or (kind == "gitlab" and auth.get("signed") is True)


def all_public_keys(auth: Ed25519Auth | JwtAuth | DiscordAuth | StandardWebhooksAuth) -> tuple[str, ...]:
    """Every public key, whichever field holds it."""
    return auth.public_keys if auth.public_key is None else (auth.public_key, *auth.public_keys)


def credential_header(auth: WebhookAuth | None) -> str:
    """The lower-case name of the header that the trigger's own choice puts a credential in, or nothing."""
    if isinstance(auth, ApiKeyAuth):
        return "" if auth.query else auth.header.lower()
    return auth.header.lower() if isinstance(auth, JwtAuth) else ""


def credential_parameter(auth: WebhookAuth | None) -> str:
    """The parameter of the address that holds a credential, or nothing."""
    return (auth.query or "") if isinstance(auth, ApiKeyAuth) else ""


def _default_content(id_header: str | None, timestamp_header: str | None) -> str:
    return ("{id}." if id_header else "") + ("{timestamp}." if timestamp_header else "") + "{body}"
