"""What the catalogue knows of one type of action."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import msgspec

from libs.common.domain.action_config import config_faults, read_config
from libs.common.domain.config_schema import config_schema
from libs.common.errors import Fault

OnUnknown: TypeAlias = Literal["retry", "fail", "ask"]
"""What becomes of an attempt of which a crash left nobody knowing whether it took effect."""

Rules: TypeAlias = Callable[[dict[str, Any], str], list[Fault]]
"""What the types of the fields cannot say, of a config whose fields are right and whose templates are not rendered."""


class ActionKind(StrEnum):
    """How durable the engine must be around an action of a type (rule 4 of the architecture)."""

    PURE = "pure"
    """Same input, same output; may run again without harm."""
    LOCAL = "local"
    """Writes to our own database, in the journal's transaction."""
    EFFECT = "effect"
    """Touches the world: its attempt is durable before it starts."""


class ActionType(msgspec.Struct, frozen=True):
    """One row of the catalogue.

    `config`: a struct, or a union of structs with a tag. `output`: an example of what the action gives; a dry run
    gives this. `on_unknown`: what holds where an action does not say it itself. `retry` is for what may be done twice:
    the receiver can tell a repetition, or it does no harm. `fail` is for what reaches people or costs money each time
    and cannot be taken back.
    """

    name: str
    kind: ActionKind
    title: str
    description: str
    config: Any
    example: dict[str, Any]
    aliases: tuple[str, ...] = ()
    output: Any = None
    on_unknown: OnUnknown = "retry"
    rules: Rules | None = None

    @property
    def config_schema(self) -> dict[str, Any]:
        """The config as JSON Schema 2020-12."""
        return config_schema(self.config)

    def check(self, config: dict[str, Any], path: str) -> list[Fault]:
        """What is wrong with a config before its templates are rendered; every fault with its path."""
        faults = config_faults(config, self.config, path)
        return faults if faults or self.rules is None else self.rules(config, path)

    def read(self, rendered: dict[str, Any]) -> Any:
        """The struct of a rendered config. Raises `ActionFailed` of the class `invalid_config`."""
        return read_config(rendered, self.config)
