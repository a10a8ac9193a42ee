"""The catalogue of this process: our actions and those of the packages that are installed beside us.

What is installed does not change while a process runs, so it is looked up once, at start. A package that is broken, or
takes a name that is taken, costs one line in the log and its own action; nothing else. Every service of an installation
needs the same packages: the gateway for validation, the executor to run.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec
import structlog

from libs.common.actions.declaring import Runnable, row_of
from libs.common.domain import catalogue as built_in
from libs.common.domain.action_type import ActionKind, ActionType, OnUnknown
from libs.common.domain.catalogue import CATALOGUE
from libs.common.errors import Fault

GROUP = "signalbox.actions"

_log = structlog.get_logger(__name__)


class Plugin(msgspec.Struct, frozen=True):
    """One action of a third party, ready to run."""

    type: ActionType
    package: str
    instance: Runnable


class Installed(msgspec.Struct, frozen=True):
    """`catalogue`: type name, aliases included → row; ours and theirs."""

    catalogue: Mapping[str, ActionType]
    plugins: tuple[Plugin, ...]


@cache
def installed() -> Installed:
    """What this process has; looked up by the first call."""
    plugins = load_plugins(entry_points(group=GROUP))
    return Installed({**CATALOGUE, **{plugin.type.name: plugin.type for plugin in plugins}}, plugins)


def load_plugins(points: Iterable[EntryPoint]) -> tuple[Plugin, ...]:
    """The actions behind these entry points, without those that are broken. Of two with one name the package that
    comes first in the alphabet has it, wherever the order of installation differs.
    """
    taken = dict.fromkeys(CATALOGUE, "Signalbox itself")
    plugins: list[Plugin] = []
    for point in sorted(set(points), key=lambda point: (_package(point), point.name)):
        try:
            plugin = _load(point)
            name = plugin.type.name
            if name in taken:
                raise ValueError(f"the name {name!r} belongs to {taken[name]}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is other people's code: it may raise anything
            reason = f"{type(error).__name__}: {error}"
            _log.error("an action is left out", package=_package(point), entry_point=point.value, reason=reason)
            continue
        taken[name] = plugin.package
        plugins.append(plugin)
    return tuple(plugins)


def kind_of(type_name: str) -> ActionKind:
    """How durable the engine must be around actions of that type.

    What a third party wrote is always run as an effect, even if it calls itself pure: it may take its time, and the
    machine that plans a run must not wait for it.
    """
    return built_in.kind_of(type_name) if type_name in CATALOGUE else _theirs(type_name)


def kind_of_action(type_name: str, config: Mapping[str, Any]) -> ActionKind:
    """As `kind_of`, for one action: some types are local by their config."""
    return built_in.kind_of_action(type_name, config) if type_name in CATALOGUE else _theirs(type_name)


def on_unknown_of(type_name: str) -> OnUnknown:
    """What becomes of an attempt in doubt of an action of that type that does not say it itself."""
    return installed().catalogue[type_name].on_unknown


def is_pure(type_name: str) -> bool:
    """Whether running an action of that type changes nothing anywhere. Of a type that is gone nobody knows it."""
    row = installed().catalogue.get(type_name)
    return row is not None and row.kind is ActionKind.PURE


def checkers() -> Mapping[str, Callable[[dict[str, Any], str], list[Fault]]]:
    """Type name → the check of its config, as validation takes them."""
    return {name: row.check for name, row in installed().catalogue.items()}


def _theirs(type_name: str) -> ActionKind:
    if type_name not in installed().catalogue:
        raise KeyError(type_name)
    return ActionKind.EFFECT


def _load(point: EntryPoint) -> Plugin:
    cls: Any = point.load()
    return Plugin(row_of(cls), _package(point), cls())


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "(unknown)"
