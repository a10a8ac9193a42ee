"""Every setting of an installation, in one frozen object read from `SIGNALBOX_…` environment variables.

A secret may stand in a file instead, which `SIGNALBOX_…_FILE` names: that is how containers and systemd hand them over.
Nothing reads the environment elsewhere. Bad values are one `OperatorError` that names every variable at fault.
"""

import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from libs.common.errors import OperatorError

PREFIX = "SIGNALBOX_"
FILE_SUFFIX = "_FILE"
MASK = "**********"

_ADDRESSES: Mapping[str, Sequence[str]] = {
    "database_url": ("postgresql", "postgres"),
    "bus_url": ("amqp", "amqps", "memory"),
    "redis_url": ("redis", "rediss", "unix"),
    "public_url": ("https", "http"),
    "otlp_endpoint": ("https", "http"),
}
"""Settings that are addresses, with what each begins with."""

_JWKS = r"^((?![a-zA-Z]+://).*|https://.+|http://(localhost|127\.0\.0\.1|\[::1\])[:/].*)$(?!\n)"
"""A path, or an address that nobody on the way can change: plain HTTP within this machine only."""

_ORIGIN = r"https?://[A-Za-z0-9.\[\]:-]{1,255}"
_CORS = rf"^(\*|{_ORIGIN}( *, *{_ORIGIN})*)?$(?!\n)"
_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TENANTS = rf"^(off|all|top:[1-9][0-9]{{0,3}}|{_UUID}(,{_UUID})*)$(?!\n)"

Network: TypeAlias = IPv4Network | IPv6Network


class Secret:
    """A value that no log, repr or listing shows; `reveal` gives it to whoever must use it."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    def __str__(self) -> str:
        return MASK if self._value else ""


class Networks(tuple[Network, ...]):
    """Networks in CIDR notation."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(str(network) for network in self)


class Settings(msgspec.Struct, frozen=True):
    """The settings of one process. Durations carry their unit in the name."""

    database_url: Annotated[Secret, Meta(description="PostgreSQL 15 or newer: postgresql://user:password@host/db")] = (
        Secret()
    )
    bus_url: Annotated[Secret, Meta(description="amqp://user:password@host/vhost, or memory:// within one process")] = (
        Secret("memory://")
    )
    bus_prefix: Annotated[str, Meta(description="First part of the names of queues and exchanges")] = "signalbox"
    events_exchange: Annotated[
        str, Meta(max_length=127, description="Exchange of the platform whose messages are events; empty: none")
    ] = ""
    redis_url: Annotated[Secret, Meta(description="Redis or Valkey, for live updates and rates; empty: none")] = (
        Secret()
    )
    platform_key: Annotated[
        Secret,
        Meta(description="Credential of the platform team for /api/v1/admin; several, comma-separated, all count"),
    ] = Secret()
    jwt_secrets: Annotated[
        Secret, Meta(description="Shared secrets of tokens (HS256 …), 32 bytes or more, comma-separated; empty: none")
    ] = Secret()
    jwt_jwks: Annotated[
        str, Meta(description="File or https address of the public keys of tokens (JWKS); empty: none", pattern=_JWKS)
    ] = ""
    jwt_algorithms: Annotated[
        str, Meta(description="Algorithms of tokens, comma-separated; empty: all that the keys are for")
    ] = ""
    jwt_issuer: Annotated[str, Meta(description="Who makes tokens (iss); needed with any")] = ""
    jwt_audience: Annotated[str, Meta(description="For whom tokens are made (aud); needed with any")] = ""
    jwt_tenant_claim: Annotated[
        str, Meta(min_length=1, description="Claim with the id or slug of the tenant, or a list of them; dots lead on")
    ] = "tenant"
    jwt_role_claim: Annotated[
        str, Meta(min_length=1, description="Claim with the role (owner, editor, viewer), or a list; dots lead on")
    ] = "role"
    jwt_user_claim: Annotated[str, Meta(min_length=1, description="Claim with the user, for the actor")] = "sub"
    jwt_leeway_seconds: Annotated[
        float, Meta(ge=0, le=300, description="How far clocks of those who make tokens may be off")
    ] = 30.0
    jwt_refresh_seconds: Annotated[
        float, Meta(ge=10, le=86_400, description="How often public keys are read anew; an unknown one at once")
    ] = 300.0
    identity_proxies: Annotated[
        Networks, Meta(description="Networks whose word for tenant, user and role is taken; empty: nobody's. DANGER")
    ] = Networks()
    cors_origins: Annotated[
        str,
        Meta(description="Origins whose pages may call the API, comma-separated; *: any; empty: none", pattern=_CORS),
    ] = ""
    master_keys: Annotated[
        Secret, Meta(description="id:base64(32 bytes), comma-separated; the first seals secrets, all of them open")
    ] = Secret()
    public_url: Annotated[
        str, Meta(description="Address under which webhooks reach this installation; empty: the request's own")
    ] = ""
    egress_allow: Annotated[
        Networks, Meta(description="Networks that actions may call although they are private, comma-separated")
    ] = Networks()
    trusted_proxies: Annotated[
        Networks, Meta(description="Networks of our own proxies, whose X-Forwarded-For is believed, comma-separated")
    ] = Networks()
    webhook_rate: Annotated[
        str, Meta(pattern=r"^([1-9][0-9]{0,8}/[smhd])?$(?!\n)", description="Calls of a webhook, as 100/m; empty: any")
    ] = ""
    plans: Annotated[
        str, Meta(description='Limits by plan, as {"free": {"workflows": 5, "api_rate": "60/m"}}; JSON')
    ] = ""
    default_plan: Annotated[str, Meta(description="Plan of tenants that have none")] = "unlimited"
    spool_dir: Annotated[
        str, Meta(description="Folder for webhook calls that come while PostgreSQL is away; empty: they get 503")
    ] = ""
    spool_bytes: Annotated[
        int, Meta(ge=1_048_576, le=2**40, description="Most bytes in that folder; beyond, calls get 503")
    ] = 1_073_741_824
    smtp_url: Annotated[
        Secret, Meta(description="Mail server: smtp://user:password@host:587 (STARTTLS), smtps://… or smtp+plain://…")
    ] = Secret()
    mail_from: Annotated[
        str, Meta(description="Sender of all mail through that server; empty: each workflow names its own")
    ] = ""
    host: Annotated[str, Meta(description="Address to listen on")] = "127.0.0.1"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is logged")
    ] = "info"
    log_format: Annotated[Literal["json", "console"], Meta(description="JSON lines, or text for people")] = "json"
    otlp_endpoint: Annotated[
        str, Meta(description="Receiver of traces (OTLP over HTTP), as http://collector:4318; empty: no tracing")
    ] = ""
    otlp_headers: Annotated[
        Secret, Meta(description="Headers for that receiver, name=value, comma-separated; empty: none")
    ] = Secret()
    traces_ratio: Annotated[
        float,
        Meta(ge=0, le=1, description="Part of the traces begun here that is sent; callers decide for theirs"),
    ] = 1.0
    max_body_bytes: Annotated[int, Meta(ge=1024, le=26_214_400, description="Largest request body, in bytes")] = (
        1_048_576
    )
    max_header_bytes: Annotated[int, Meta(ge=1024, le=65_536, description="Largest header block, in bytes")] = 16_384
    large_value_bytes: Annotated[
        int, Meta(ge=256, le=26_214_400, description="Larger inputs and outputs are linked, not sent with a record")
    ] = 65_536
    live_streams: Annotated[
        int, Meta(ge=1, le=100_000, description="Live streams and sockets of one tenant that one gateway keeps open")
    ] = 100
    schedule_series: Annotated[
        int, Meta(ge=0, le=10_000, description="Schedules with metrics of their own in each scheduler; 0: none")
    ] = 100
    metrics_tenants: Annotated[
        str,
        Meta(pattern=_TENANTS, description="Tenants with metrics of their own: off, all, top:20, or ids, with commas"),
    ] = "off"
    watch_seconds: Annotated[
        float, Meta(ge=0.25, le=3600, description="How often backlog, database and Redis are looked at for the metrics")
    ] = 15.0
    database_pool_size: Annotated[int, Meta(ge=3, le=200, description="PostgreSQL connections of one process")] = 8
    executor_slots: Annotated[
        int, Meta(ge=1, le=10_000, description="Executions that one executor has under way at once")
    ] = 200
    run_window: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Executions of a tenant of weight 1 on the bus or running at once")
    ] = 2_000
    run_budget: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Executions of all tenants on the bus or running; a few go ahead")
    ] = 4_000
    cache_seconds: Annotated[
        float, Meta(ge=0, le=60, description="How long keys and triggers are remembered; a revocation waits as long")
    ] = 1.0
    audit_days: Annotated[int, Meta(ge=1, le=36_525, description="How long the audit log is kept, in days")] = 400
    unready_seconds: Annotated[
        float, Meta(ge=0, le=300, description="After SIGTERM, how long gateway and webhooks answer while not ready")
    ] = 5.0
    drain_seconds: Annotated[
        float, Meta(ge=0, le=300, description="How long a stopping process finishes what it holds")
    ] = 20.0


def load_settings(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """The settings of the environment; `overrides`, by field name, win. Raises `OperatorError` with every fault."""
    given = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field in msgspec.structs.fields(Settings):
        try:
            if field.name in overrides:
                values[field.name] = overrides[field.name]
            elif (text := _given_text(given, field)) is not None:
                values[field.name] = msgspec.convert(text, field.type, strict=False, dec_hook=_from_text)
                _check_address(text, _ADDRESSES.get(field.name, ()))
        except (msgspec.ValidationError, ValueError) as error:
            faults.append(f"{PREFIX}{field.name.upper()}: {error}")
    if faults:
        raise OperatorError("; ".join(faults))
    return Settings(**values)


def describe_settings(settings: Settings) -> list[tuple[str, str, str, str]]:
    """One row a setting: variable, value and default (secrets masked), meaning."""
    return [
        (
            PREFIX + field.name.upper(),
            str(getattr(settings, field.name)),
            str(field.default),
            field.type.__metadata__[0].description,
        )
        for field in msgspec.structs.fields(Settings)
    ]


def is_secret(field: msgspec.structs.FieldInfo) -> bool:
    """Whether that setting is a secret, which may stand in a file."""
    return field.type.__origin__ is Secret


def _given_text(given: Mapping[str, str], field: msgspec.structs.FieldInfo) -> str | None:
    """What the environment, or the file that it names, gives for a setting. Raises `ValueError`."""
    name = PREFIX + field.name.upper()
    path = given.get(name + FILE_SUFFIX) if is_secret(field) else None
    if not path:
        return given.get(name)
    if name in given:
        raise ValueError(f"set this or {name}{FILE_SUFFIX}, not both")
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} does not hold text") from None


def _check_address(text: str, schemes: Sequence[str]) -> None:
    """Raises `ValueError`, which shows nothing of the address: a password may stand anywhere in a broken one."""
    if not text or not schemes:
        return
    if text.partition("://")[0] not in schemes:
        raise ValueError("must begin with " + " or ".join(f"{scheme}://" for scheme in schemes))
    for place in urlsplit(text).netloc.rpartition("@")[2].split(","):
        _, colon, port = place.rpartition(":")
        if colon and not place.endswith("]") and not (port.isdecimal() and int(port) <= 65_535):
            raise ValueError("the port is not a number from 0 to 65535; a / in a password is written %2F")


def _from_text(kind: type, text: Any) -> Any:
    """The two kinds of value that are more than text or a number."""
    if kind is Secret:
        return Secret(text)
    return Networks(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
