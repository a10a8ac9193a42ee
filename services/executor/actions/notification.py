"""`send_notification` by webhook: to Slack, Microsoft Teams, Discord, or any address.

Bodies are those of the vendors' documentation: Slack's incoming webhooks, the workflow webhooks of Teams (a message
with an Adaptive Card), Discord's Execute Webhook. Text from templates can mention nobody: Slack's control characters
are escaped, Discord is told to parse no mention. The channel `in_app` never comes here: it is a local write.
"""

from typing import Any

import msgspec

from libs.common.domain.action_config import read_config
from libs.common.domain.configs.messages import (
    DiscordMessage,
    GenericMessage,
    SlackMessage,
    TeamsMessage,
    WebhookMessage,
)
from libs.common.security.http_client import OutgoingRequest
from services.executor.actions.base import Attempt
from services.executor.actions.bodies import as_text
from services.executor.actions.client import ERROR_STATUS, GuardedClient, vendor_reason, with_our_headers

NAME = "send_notification"
MAX_SLACK, MAX_TEAMS, MAX_DISCORD = 40_000, 20_000, 2_000
"""Characters that the vendors take; Teams counts 28 KB for the whole card."""

_CARD = "application/vnd.microsoft.card.adaptive"
_CARD_SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"


class NotificationAction:
    """The action."""

    def __init__(self, client: GuardedClient) -> None:
        self._client = client

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """Post it. Raises `ActionFailed`."""
        wanted: WebhookMessage = read_config(config, WebhookMessage)
        given = wanted.headers if isinstance(wanted, GenericMessage) else {}
        headers = with_our_headers(
            {name: as_text(value) for name, value in given.items() if value is not None}, attempt, "application/json"
        )
        body = msgspec.json.encode({**message_body(wanted), **(wanted.payload or {})})
        response = await self._client.send(
            OutgoingRequest("POST", wanted.url, headers, attempt.timeout_seconds, body=body), attempt
        )
        if response.status >= ERROR_STATUS:
            raise self._client.refusal(response, vendor_reason(response.body))
        return {"channel": config["channel"], "status": response.status}


def message_body(wanted: WebhookMessage) -> dict[str, Any]:
    """The vendor's JSON for a title and a message."""
    match wanted:
        case SlackMessage():
            title = f"*{_slack(wanted.title)}*\n" if wanted.title else ""
            return {"text": _cut(title + _slack(wanted.message), MAX_SLACK)}
        case TeamsMessage():
            return _teams(wanted)
        case DiscordMessage():
            title = f"**{wanted.title}**\n" if wanted.title else ""
            named = {"username": wanted.username} if wanted.username else {}
            return {"content": _cut(title + wanted.message, MAX_DISCORD), "allowed_mentions": {"parse": []}, **named}
        case GenericMessage():
            return {"title": wanted.title, "message": wanted.message}


def _teams(wanted: TeamsMessage) -> dict[str, Any]:
    title = [{"type": "TextBlock", "text": wanted.title, "weight": "Bolder", "size": "Medium", "wrap": True}]
    text = {"type": "TextBlock", "text": _cut(wanted.message, MAX_TEAMS), "wrap": True}
    card = {
        "$schema": _CARD_SCHEMA, "type": "AdaptiveCard", "version": "1.2",
        "body": [*(title if wanted.title else []), text],
    }  # fmt: skip
    return {"type": "message", "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}]}


def _slack(text: str) -> str:
    """Slack's control characters as entities, by its documentation: &, < and > and no other."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
