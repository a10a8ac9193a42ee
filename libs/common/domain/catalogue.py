"""The action catalogue: what types of action exist, what their config may hold, and whether running one has an effect.

Pure description; what an action does when it runs is the executor's. The gateway validates definitions against this
table and shows it to users.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from libs.common.errors import Fault


class ActionKind(StrEnum):
    """How durable the engine must be around an action of a type (rule 4 of the architecture)."""

    PURE = "pure"
    """Same input, same output; may run again without harm."""
    LOCAL = "local"
    """Writes to our own database, in the journal's transaction."""
    EFFECT = "effect"
    """Touches the world: its attempt is durable before it starts."""


class SetVariablesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`values`: names to values; later actions read them as `vars.<name>`."""

    values: dict[str, Any]


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`message`: text for the record of this run."""

    message: Any
    level: Literal["debug", "info", "warning", "error"] = "info"


class FailConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`message`: why the run ends as failed."""

    message: Any = "failed by the workflow"


class BranchCaseShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case: the first whose `if` and `conditions` hold is taken."""

    actions: list[Any]
    if_: str | bool | None = msgspec.field(name="if", default=None)
    conditions: Any = None


class BranchShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cases` in order, else `default`."""

    cases: list[BranchCaseShape]
    default: list[Any] = []


class ForEachShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`actions` run once for each of `items`, with `item` and `index`; `concurrency` iterations at a time."""

    items: Any
    actions: list[Any]
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    on_error: Literal["stop", "continue"] = "stop"


class WaitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of: `seconds` from now; `until` a time of RFC 3339 or a shift such as `+3 days`."""

    seconds: Any = None
    until: Any = None


class HttpAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Credential of an outgoing request."""

    type: Literal["bearer", "basic", "header"]
    token: str | None = None
    username: str | None = None
    password: str | None = None
    name: str | None = None
    value: str | None = None


class HttpRequestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An HTTP request. `body` is sent as JSON, `form` url-encoded, `text` as it is; one of the three."""

    url: str
    method: str = "POST"
    headers: dict[str, Any] = {}
    query: dict[str, Any] = {}
    body: Any = None
    form: dict[str, Any] | None = None
    text: str | None = None
    auth: HttpAuth | None = None
    follow_redirects: bool = False
    success_status: list[int] | None = None


class ActionType(msgspec.Struct, frozen=True):
    """One row of the catalogue."""

    name: str
    kind: ActionKind
    title: str
    description: str
    config: type[msgspec.Struct]
    example: dict[str, Any]
    aliases: tuple[str, ...] = ()

    @property
    def config_schema(self) -> dict[str, Any]:
        """The config as JSON Schema 2020-12."""
        return msgspec.json.schema(self.config)

    def check(self, config: dict[str, Any], path: str) -> list[Fault]:
        """What is wrong with a config before its templates are rendered; every fault with its path."""
        faults = _unknown_and_missing(self.config, config, path) + _type_faults(self.config, config, path)
        if not faults and self.config is HttpRequestConfig:
            faults = _http_rules(config, path)
        if not faults and self.config is WaitConfig and len(config) != 1:
            faults = [Fault(path, "needs one of seconds and until")]
        return faults


HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_TYPES = (
    ActionType(
        "for_each", ActionKind.PURE, "For each", "Runs actions once for every item of a list.",
        ForEachShape, {"items": "{{ input.lines }}", "actions": [], "concurrency": 5},
    ),
    ActionType("wait", ActionKind.PURE, "Wait", "Goes on later.", WaitConfig, {"seconds": 3600}),
    ActionType(
        "set_variables", ActionKind.PURE, "Set variables", "Names values for later actions (`vars.<name>`).",
        SetVariablesConfig, {"values": {"amount": "{{ webhook.body.amount }}"}},
    ),
    ActionType(
        "branch", ActionKind.PURE, "Branch", "Runs the actions of the first case that holds, else those of `default`.",
        BranchShape, {"cases": [{"if": "{{ vars.amount > 100 }}", "actions": []}], "default": []},
    ),
    ActionType(
        "http_request", ActionKind.EFFECT, "HTTP request", "Calls an HTTP endpoint and keeps the answer.",
        HttpRequestConfig, {"url": "https://example.com/hook", "method": "POST", "body": {"id": "{{ input.id }}"}},
        aliases=("call_webhook", "webhook"),
    ),
    ActionType(
        "log", ActionKind.PURE, "Log", "Writes a line into the record of the run.",
        LogConfig, {"message": "amount is {{ vars.amount }}"},
    ),
    ActionType(
        "fail", ActionKind.PURE, "Fail", "Ends the run as failed.",
        FailConfig, {"message": "the payload names no customer"},
    ),
)  # fmt: skip

CATALOGUE: Mapping[str, ActionType] = {name: entry for entry in _TYPES for name in (entry.name, *entry.aliases)}
"""Type name, aliases included → its row."""


def kind_of(type_name: str) -> ActionKind:
    """How durable the engine must be around actions of that type."""
    return CATALOGUE[type_name].kind


def checkers() -> Mapping[str, Callable[[dict[str, Any], str], list[Fault]]]:
    """Type name → the check of its config, as validation takes them."""
    return {name: entry.check for name, entry in CATALOGUE.items()}


def _unknown_and_missing(shape: type[msgspec.Struct], config: dict[str, Any], path: str) -> list[Fault]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    unknown = [Fault(f"{path}.{name}", "is not a field of this action") for name in config if name not in fields]
    missing = [
        Fault(f"{path}.{name}", "is required")
        for name, field in fields.items()
        if field.required and name not in config
    ]
    return unknown + missing


def _type_faults(shape: type[msgspec.Struct], config: dict[str, Any], path: str) -> list[Fault]:
    faults: list[Fault] = []
    for field in msgspec.structs.fields(shape):
        if field.encode_name not in config:
            continue
        try:
            msgspec.convert(config[field.encode_name], field.type)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            faults.append(Fault(f"{path}.{field.encode_name}{where.rstrip('`')}", message[:1].lower() + message[1:]))
    return faults


def _http_rules(config: dict[str, Any], path: str) -> list[Fault]:
    faults: list[Fault] = []
    method, url = config.get("method", "POST"), config["url"]
    if not _has_template(method) and method.upper() not in HTTP_METHODS:
        faults.append(Fault(f"{path}.method", f"must be one of {', '.join(HTTP_METHODS)}"))
    if not _has_template(url) and not url.lower().startswith(("http://", "https://")):
        faults.append(Fault(f"{path}.url", "must start with http:// or https://"))
    bodies = [name for name in ("body", "form", "text") if config.get(name) is not None]
    if len(bodies) > 1:
        faults.append(Fault(f"{path}.{bodies[1]}", f"only one of {', '.join(bodies)} may be given"))
    return faults


def _has_template(text: str) -> bool:
    return "{{" in text or "${" in text
