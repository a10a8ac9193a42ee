"""Identity by a JSON Web Token of the platform's own identity provider.

    algorithm allowed ─ signature by one of our keys ─ times ─ issuer, audience ─ tenant claim ─ role claim

Everything that fails up to the audience is one and the same 401. A tenant that the token does not name, or that does
not exist, is 403. The role is the strongest that the token names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from libs.common.clock import Clock
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.tenant import strongest_role
from libs.common.errors import Forbidden, OperatorError, TenantRequired, Unauthenticated
from libs.common.security.egress import EgressPolicy
from libs.common.security.jwt import Check, Expected, Token, failed_claim, read_token, secret_check
from libs.common.security.key_source import KeySource
from libs.common.settings import Settings
from services.gateway.identity import Identity
from services.gateway.tenant_states import TenantStates

_BY_SECRET = ("HS256", "HS384", "HS512")
_BY_KEY = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEAST_SECRET = 32
_USER_CHARACTERS = 200


class TokenRules(msgspec.Struct, frozen=True):
    """What tokens must be like. `tenant_claim` and the others: the name of a claim, or a path with dots."""

    algorithms: tuple[str, ...]
    expected: Expected
    tenant_claim: str
    role_claim: str
    user_claim: str
    secrets: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"TokenRules({', '.join(self.algorithms)})"


class TokenIdentities:
    """Knows who a token speaks for."""

    def __init__(self, rules: TokenRules, keys: KeySource | None, states: TenantStates, clock: Clock) -> None:
        self._rules, self._keys, self._states, self._clock = rules, keys, states, clock

    async def identify(self, text: str, tenant: str | None) -> Identity:
        """Who it is, for the tenant that is asked for. Raises `Unauthenticated`, `TenantRequired`, `Forbidden`."""
        claims = await self._verified(text)
        if tenant is None or not tenant.strip():
            raise TenantRequired("The header X-Tenant-ID is needed: the id or the slug of the tenant.")
        named = [one.lower() for one in _texts(_claim(claims, self._rules.tenant_claim))]
        state = await self._states.find(tenant) if named else None
        if state is None or not {str(state.id), state.slug} & set(named):
            raise Forbidden("This credential is not for that tenant.")
        role = strongest_role(_texts(_claim(claims, self._rules.role_claim)))
        if role is None:
            raise Forbidden("This credential has no role here.")
        user = _user(claims, self._rules.user_claim)
        return Identity(state.id, state.slug, state.status, role, user=user, means="token")

    async def close(self) -> None:
        """No keys are read any more."""
        if self._keys is not None:
            await self._keys.close()

    async def _verified(self, text: str) -> dict[str, Any]:
        token = read_token(text)
        if token is None or token.algorithm not in self._rules.algorithms:
            raise _refused()
        checks = await self._checks(token)
        if not any(check is not None and check(token.signature, token.content) for check in checks):
            raise _refused()
        claims = token.claims()
        if failed_claim(claims, self._rules.expected, self._clock.now().timestamp()) is not None:
            raise _refused()
        return claims

    async def _checks(self, token: Token) -> Sequence[Check | None]:
        if token.algorithm in _BY_SECRET:
            return [secret_check(token.algorithm, secret) for secret in self._rules.secrets]
        if self._keys is None:
            return []
        return [key.check(token.algorithm) for key in await self._keys.find(token.key_id)]


def token_rules(settings: Settings) -> TokenRules | None:
    """What the settings say; None: no tokens. Raises `OperatorError` for what goes not together."""
    secrets = [secret.strip() for secret in settings.jwt_secrets.reveal().split(",") if secret.strip()]
    if not secrets and not settings.jwt_jwks:
        return None
    possible = (_BY_SECRET if secrets else ()) + (_BY_KEY if settings.jwt_jwks else ())
    wanted = tuple(one.strip() for one in settings.jwt_algorithms.split(",") if one.strip()) or possible
    rules: list[tuple[Callable[[], bool], str]] = [
        (lambda: all(len(secret.encode()) >= _LEAST_SECRET for secret in secrets),
         f"SIGNALBOX_JWT_SECRETS: each must have at least {_LEAST_SECRET} bytes."),
        (lambda: set(wanted) <= set(possible),
         f"SIGNALBOX_JWT_ALGORITHMS: with the keys that are set it may name {', '.join(possible)}."),
        (lambda: bool(settings.jwt_issuer and settings.jwt_audience),
         "SIGNALBOX_JWT_ISSUER and SIGNALBOX_JWT_AUDIENCE are needed: else tokens made for others open this door."),
    ]  # fmt: skip
    faults = [message for is_right, message in rules if not is_right()]
    if faults:
        raise OperatorError(" ".join(faults))
    expected = Expected(settings.jwt_issuer, settings.jwt_audience, settings.jwt_leeway_seconds)
    return TokenRules(
        wanted, expected, settings.jwt_tenant_claim, settings.jwt_role_claim, settings.jwt_user_claim,
        tuple(secret.encode() for secret in secrets),
    )  # fmt: skip


def make_token_identities(settings: Settings, states: TenantStates, clock: Clock) -> TokenIdentities | None:
    """As the settings say; None: no tokens. Raises `OperatorError`."""
    rules = token_rules(settings)
    if rules is None:
        return None
    source = None
    if settings.jwt_jwks:
        policy = EgressPolicy(settings.egress_allow)
        source = KeySource(settings.jwt_jwks, policy, clock, settings.jwt_refresh_seconds)
    return TokenIdentities(rules, source, states, clock)


def _refused() -> Unauthenticated:
    return Unauthenticated("This token does not count: its signature, its time, its issuer or its audience is wrong.")


def _claim(claims: dict[str, Any], name: str) -> object:
    """The claim of that name, which may hold dots, or the one that a path of dots leads to."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if is_object(found) else None
    return found


def _texts(value: object) -> list[str]:
    return [one for one in (value if is_array(value) else [value]) if isinstance(one, str)]


def _user(claims: dict[str, Any], name: str) -> str | None:
    value = _claim(claims, name)
    usable = isinstance(value, str) and value.isprintable() and value.strip()
    return str(value).strip()[:_USER_CHARACTERS] if usable else None
