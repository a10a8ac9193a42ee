"""Two actions of a third party: one that asks a service, one that only computes.

`pip install` this folder beside Signalbox, restart the gateway and the executors, and workflows can use `acme_exchange`
and `acme_initials`.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from libs.common.actions import ActionFailed, Context, Failure, action


@action(
    "acme_exchange",
    title="Convert money",
    example={"service": "https://rates.example.com", "amount": "{{ input.amount }}", "to": "EUR"},
    output={"amount": 92.5, "currency": "EUR"},
    on_unknown="retry",  # the service knows the Idempotency-Key
)
class Exchange:
    """Converts an amount of US dollars at today's rate."""

    class Config(msgspec.Struct, frozen=True):
        """What a workflow gives. Templates are rendered before this is made."""

        service: Annotated[str, Meta(description="address of the rates service")]
        amount: Annotated[float, Meta(ge=0, description="in US dollars")]
        to: Annotated[Literal["EUR", "GBP"], Meta(description="the other currency")] = "EUR"

    async def run(self, config: Config, context: Context) -> dict[str, Any]:
        """The context's `request` refuses addresses inside of the network and carries the `Idempotency-Key`."""
        answer = await context.request("GET", f"{config.service}/latest", query={"base": "USD", "symbol": config.to})
        rate = answer.body.get("rate") if isinstance(answer.body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(rate, int | float):
            raise ActionFailed(Failure("acme_no_rate", f"the service has no rate for {config.to}"))
        return {"amount": round(config.amount * rate, 2), "currency": config.to}


class Person(msgspec.Struct, frozen=True):
    """The config of `Initials`."""

    name: Annotated[str, Meta(min_length=1, description="a full name")]


@action("acme_initials", title="Initials", kind="pure", example={"name": "Ada Lovelace"}, output={"initials": "AL"})
class Initials:
    """Gives the first letters of a name."""

    async def run(self, config: Person, context: Context) -> dict[str, str]:
        """Changes nothing anywhere, so that it may be run again."""
        return {"initials": "".join(word[0].upper() for word in config.name.split())}
