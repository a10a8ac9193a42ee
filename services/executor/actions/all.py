"""Every action with an effect that this installation has: ours, and those of third parties; with what they share."""

from libs.common.actions.installed import installed
from libs.common.clock import Clock
from libs.common.db.pool import Database
from libs.common.domain.catalogue import CATALOGUE
from libs.common.security.egress import EgressPolicy
from libs.common.settings import Settings
from services.executor.actions import find, http, mail, notification, sms, upkeep
from services.executor.actions.base import EffectAction, Effects
from services.executor.actions.client import GuardedClient
from services.executor.actions.mail_server import MailServers
from services.executor.actions.third_party import ThirdPartyAction


class OwnedEffects:
    """The actions, and the connections that they share: whoever has them made closes them."""

    def __init__(self, effects: Effects, client: GuardedClient) -> None:
        self._effects, self._client = effects, client

    def types(self) -> Effects:
        """Action type, aliases included → what it does."""
        return self._effects

    async def close(self) -> None:
        """Close what they share; nothing may be under way any more."""
        await self._client.close()


def build_effects(settings: Settings, database: Database, clock: Clock) -> OwnedEffects:
    """The actions under these settings. Raises `OperatorError` for a setting that is wrong."""
    policy = EgressPolicy(settings.egress_allow)
    client = GuardedClient(policy, clock)
    ours: dict[str, EffectAction] = {
        http.NAME: http.HttpAction(client).run,
        sms.NAME: sms.SmsAction(client).run,
        notification.NAME: notification.NotificationAction(client).run,
        find.NAME: find.FindAction(database, clock).run,
        upkeep.REPORT: upkeep.ReportAction(database, clock).run,
        upkeep.CLEAN_UP: upkeep.CleanUpAction(database, clock).run,
        mail.NAME: mail.MailAction(policy, MailServers(settings), clock).run,
    }
    named = {name: ours[entry.name] for name, entry in CATALOGUE.items() if entry.name in ours}
    theirs = {plugin.type.name: ThirdPartyAction(plugin, client).run for plugin in installed().plugins}
    return OwnedEffects({**theirs, **named}, client)
