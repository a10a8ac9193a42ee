"""What a webhook trigger may be told beside its authentication: who may call from where and how often, and what is
answered. Values and their faults; the checks themselves stand where the calls come in.
"""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Literal

import msgspec

from libs.common.domain.faults import is_array, is_object
from libs.common.domain.template_error import TemplateError
from libs.common.domain.templates import has_template, template_faults, used_paths
from libs.common.errors import Fault

RATE = r"^[1-9][0-9]{0,8}/[smhd]$(?!\n)"
ORIGIN = r"^(\*|https?://[A-Za-z0-9.\[\]:-]{1,255})$(?!\n)"
CONTENT_TYPE = r"^[a-z0-9!#$&^_.+-]{1,64}/([a-z0-9!#$&^_.+-]{1,64}|\*)$(?!\n)"
WEBHOOK_SLUG = r"^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$(?!\n)"
"""After the slug of a tenant, which is never a UUID: so the address is no trigger's id with its token."""

_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OURS = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers that belong to the connection: a workflow has no say in them."""
_LATER_NAMES = frozenset({"actions", "secrets", "vars", "event", "item", "index"})
"""What there is only once the workflow runs."""
_NOT_OF_EVENTS = frozenset({"actions", "secrets", "vars", "execution", "webhook", "item", "index"})
"""What there is not, or not yet, when an event comes."""

Template = Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]


class Rate(msgspec.Struct, frozen=True):
    """So many calls in so many seconds."""

    calls: int
    seconds: int


class WebhookResponse(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the caller gets. `async`: 202 at once, or `status`, `headers` and `body` (a template over the call).

    `sync`: what the workflow's `respond` says, or its output as `format`, when it ends within `timeout_seconds`.
    """

    mode: Literal["async", "sync"] = "async"
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 30
    format: Literal["json", "text"] = "json"
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    headers: Annotated[dict[str, str], msgspec.Meta(max_length=20)] = {}
    body: Any = None

    @property
    def is_custom(self) -> bool:
        """Whether it says what is answered at once."""
        return self.status is not None or bool(self.headers) or self.body is not None


def parse_rate(text: str) -> Rate:
    """`100/h` as numbers: s, m, h or d. Raises `ValueError`."""
    if re.match(RATE, text) is None:
        raise ValueError("must be calls by period, as 10/s, 100/m, 1000/h or 5000/d")
    calls, _, period = text.partition("/")
    return Rate(int(calls), _PERIODS[period])


def is_header(name: str, value: str) -> bool:
    """Whether an answer may carry this header."""
    printable = value.isascii() and (value.isprintable() or not value) and len(value) <= 4_096
    return _HEADER.fullmatch(name) is not None and name.lower() not in _OURS and printable


def setting_faults(config: Mapping[str, Any], path: str) -> list[Fault]:
    """The faults that the types of the fields do not show."""
    faults = [Fault(f"{path}.networks[{index}]", problem) for index, problem in _bad_networks(config.get("networks"))]
    for name in ("transform", "dedupe_key", "event"):
        faults += _template_faults(config.get(name), f"{path}.{name}")
    dedupe_key: object = config.get("dedupe_key")
    if isinstance(dedupe_key, str) and not has_template(dedupe_key):
        faults.append(Fault(f"{path}.dedupe_key", "must hold an expression, as in {{ webhook.body.id }}"))
    response: object = config.get("response")
    return faults + _response_faults(response, f"{path}.response") if is_object(response) else faults


def event_setting_faults(config: Mapping[str, Any], path: str) -> list[Fault]:
    """As `setting_faults`, for the trigger of an event. The names of its data, which nobody knows yet, are any."""
    raw, where = config.get("transform"), f"{path}.transform"
    return template_faults(raw, where) or _name_faults(raw, where, _NOT_OF_EVENTS, "is not there when an event comes")


def _response_faults(response: Mapping[str, Any], path: str) -> list[Fault]:
    faults = _template_faults(response.get("body"), f"{path}.body")
    headers: object = response.get("headers")
    for name, value in headers.items() if is_object(headers) else ():
        if isinstance(value, str) and not is_header(name, value):
            faults.append(Fault(f"{path}.headers.{name[:64]}", "is no header that an answer may carry"))
    if response.get("mode") == "sync":
        given = [name for name in ("status", "headers", "body") if response.get(name)]
        faults += [Fault(f"{path}.{name}", "is for mode async; here the workflow's respond says it") for name in given]
    return faults


def _bad_networks(networks: object) -> Iterator[tuple[int, str]]:
    for index, text in enumerate(networks if is_array(networks) else ()):
        try:
            if isinstance(text, str):
                ip_network(text, strict=False)
        except ValueError:
            yield index, "must be an address or a network, as 203.0.113.0/24 or 2001:db8::/32"


def _template_faults(raw: Any, path: str) -> list[Fault]:
    """As `template_faults`; names that a call does not have yet are faults too."""
    faults = template_faults(raw, path, frozenset())
    return faults or _name_faults(raw, path, _LATER_NAMES, "is not there yet when the call comes in")


def _name_faults(raw: Any, path: str, missing: frozenset[str], problem: str) -> list[Fault]:
    try:
        roots = {str(used[0]) for text in _texts(raw) for used in used_paths(text)}
    except TemplateError as error:
        return [Fault(path, f"template {error.detail}")]
    return [Fault(path, f"{name} {problem}") for name in sorted(roots & missing)]


def _texts(raw: Any) -> Iterator[str]:
    if isinstance(raw, str):
        yield raw
    elif is_object(raw):
        for item in raw.values():
            yield from _texts(item)
    elif is_array(raw):
        for item in raw:
            yield from _texts(item)
