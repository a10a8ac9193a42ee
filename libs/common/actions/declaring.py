"""How a third party declares an action: a decorator that makes a row of the catalogue of a class.

It checks what it is given as soon as the class is defined, so that a mistake shows where it was made.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_type_hints

import msgspec

from libs.common.domain.action_type import ActionKind, ActionType, OnUnknown

if TYPE_CHECKING:
    from libs.common.security.http_client import OutgoingResponse

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ROW = "__signalbox_action__"

Decorated = TypeVar("Decorated", bound=type)


class Context(Protocol):
    """What an action may know of its attempt, and a way out under the same guard as `http_request`."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this action in this run; other runs and loop iterations have others."""
        ...

    @property
    def timeout_seconds(self) -> float:
        """After so long `run` is cancelled."""
        ...

    @property
    def traceparent(self) -> str:
        """The W3C trace context, for whoever is called."""
        ...

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None, json: Any = None, body: bytes | None = None, any_status: bool = False,
    ) -> "OutgoingResponse":  # fmt: skip
        """Send an HTTP request with the `Idempotency-Key` and read the answer.

        Raises `ActionFailed` when there is no answer, when the address is inside, and for a status of 400 or more
        unless `any_status`.
        """
        ...


class Runnable(Protocol):
    """An instance of a decorated class."""

    async def run(self, config: Any, context: Context) -> Any:
        """Do it; what is returned is the output and must fit into JSON. Raises `ActionFailed`."""
        ...


def action(
    name: str, *, title: str, example: dict[str, Any], description: str = "",
    kind: Literal["effect", "pure"] = "effect", output: Any = None, on_unknown: OnUnknown | None = None,
) -> Callable[[Decorated], Decorated]:  # fmt: skip
    """Declares a class as an action of that name. Raises `TypeError` or `ValueError` for a class that can't be one.

    The class has `async def run(self, config, context)` and a struct for its config: nested and called `Config`, or
    the annotation of `config`. `kind` is `pure` when running it changes nothing anywhere. `example`: a config for the
    catalogue; `output`: what it gives then, for dry runs. `on_unknown`: what becomes of an attempt that a crash left in
    doubt; by default it is made again when the action is pure, and is a failure otherwise.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot be the name of an action: lower-case letters, digits and _, 64 at most")

    def declare(cls: Decorated) -> Decorated:
        run = getattr(cls, "run", None)
        if not inspect.iscoroutinefunction(run) or len(inspect.signature(run).parameters) != 3:
            raise TypeError(f"{cls.__name__} needs: async def run(self, config, context)")
        row = ActionType(
            name, ActionKind(kind), title, description or inspect.getdoc(cls) or "", _config_of(cls, run), example,
            output=output, on_unknown=on_unknown or ("retry" if kind == "pure" else "fail"),
        )  # fmt: skip
        faults = row.check(example, "example")
        if faults:
            raise ValueError("; ".join(f"{fault.path} {fault.message}" for fault in faults))
        msgspec.json.encode(row.config_schema)  # what the catalogue shows can be made
        setattr(cls, _ROW, row)
        return cls

    return declare


def row_of(cls: object) -> ActionType:
    """The row of a decorated class. Raises `TypeError` for anything else."""
    row = vars(cls).get(_ROW) if isinstance(cls, type) else None
    if not isinstance(row, ActionType):
        raise TypeError("it is no class with the decorator @action")
    return row


def _config_of(cls: type, run: Callable[..., Any]) -> type[msgspec.Struct]:
    config = getattr(cls, "Config", None)
    if config is None:
        name = list(inspect.signature(run).parameters)[1]
        config = get_type_hints(run).get(name)
    if not isinstance(config, type) or not issubclass(config, msgspec.Struct):
        raise TypeError(f"{cls.__name__} needs a msgspec.Struct for its config: nested as Config, or as annotation")
    return config
