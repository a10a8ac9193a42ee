"""The webhook triggers that calls name, with the limits of their tenants, read once and remembered briefly.

A change or revocation takes effect within `cache_seconds`. Triggers that do not exist are remembered too, so that
guessing ids costs the database nothing; the memory is bounded.
"""

from collections import OrderedDict
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Database
from libs.common.db.webhook_triggers import WebhookTriggerRow, find_webhook_trigger, find_webhook_trigger_called
from libs.common.domain.limits import Limits
from libs.common.domain.trigger import WebhookConfig
from libs.common.domain.webhook_settings import Rate, parse_rate
from libs.common.errors import Unavailable
from libs.common.limits.plans import Plans
from libs.common.security.encryption import Vault
from libs.common.security.trigger_secrets import TriggerSecret, open_trigger_secrets
from libs.common.security.webhook_auth.making import Surroundings
from libs.common.webhook_rules import Facts, Rules, make_rules
from services.webhooks.checks import Credentials, make_credentials
from services.webhooks.secret_uses import SecretUses, UsedSecret

_KEEP = 10_000
_AWAY_SECONDS = 1.0
"""So long a trigger is not looked for again once PostgreSQL was found away."""

_decode_config = msgspec.json.Decoder(WebhookConfig).decode


class WebhookTrigger(msgspec.Struct, frozen=True):
    """A trigger ready to judge a call."""

    row: WebhookTriggerRow
    config: WebhookConfig
    credentials: Credentials
    facts: Facts
    rules: Rules
    rate: Rate | None
    limits: Limits


class TriggerCache:
    """Finds triggers by id, or by `{tenant's slug}/{slug}`."""

    def __init__(
        self, database: Database, vault: Vault, cache_seconds: float, surroundings: Surroundings, uses: SecretUses,
        plans: Plans, default_rate: str = "", *, outlives: bool = False,
    ) -> None:  # fmt: skip
        """`default_rate`: for triggers that have none of their own; empty: any. `outlives`: while PostgreSQL is away a
        trigger stays as it was.
        """
        self._database, self._vault, self._cache_seconds = database, vault, cache_seconds
        self._surroundings, self._uses, self._plans = surroundings, uses, plans
        self._default_rate, self._outlives = default_rate, outlives
        self._known: OrderedDict[UUID | str, tuple[float, WebhookTrigger | None]] = OrderedDict()

    async def find(self, place: UUID | str) -> WebhookTrigger | None:
        """The trigger of an address, if there is one. Raises `Unavailable`."""
        known = self._known.get(place)
        if known is not None and known[0] > monotonic():
            return known[1]
        try:
            async with self._database.connection() as connection:
                row = await _look_up(connection, place)
        except Unavailable:
            if known is None or known[1] is None or not self._outlives:
                raise
            self._known[place] = (monotonic() + _AWAY_SECONDS, known[1])
            return known[1]
        trigger = None if row is None else self._ready(row)
        self._known[place] = (monotonic() + self._cache_seconds, trigger)
        self._known.move_to_end(place)
        while len(self._known) > _KEEP:
            self._known.popitem(last=False)
        return trigger

    def _ready(self, row: WebhookTriggerRow) -> WebhookTrigger:
        conditions: Any = None if row.conditions is None else msgspec.json.decode(row.conditions)
        config, secrets = _decode_config(row.config), tuple[TriggerSecret, ...]()
        if row.sealed_secrets is not None:
            secrets = open_trigger_secrets(self._vault, row.tenant_id, row.id, row.sealed_secrets, row.data_key)
        owner = UsedSecret(row.tenant_id, row.id, row.id)
        schema: Any = None if row.input_schema is None else msgspec.json.decode(row.input_schema)
        rate = config.rate or self._default_rate
        return WebhookTrigger(
            row,
            config,
            make_credentials(config, row.token or "", secrets, self._surroundings, self._uses, owner),
            Facts(row.tenant_id, row.tenant_slug, row.id, row.key, row.workflow_id, row.workflow_name, row.version),
            make_rules(config, conditions, schema),
            parse_rate(rate) if rate else None,
            self._plans.limits(row.plan, row.quota),
        )


async def _look_up(connection: Connection, place: UUID | str) -> WebhookTriggerRow | None:
    if isinstance(place, UUID):
        return await find_webhook_trigger(connection, place)
    tenant_slug, _, slug = place.partition("/")
    return await find_webhook_trigger_called(connection, tenant_slug, slug)
