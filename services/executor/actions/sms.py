"""`send_sms`: a text message through Twilio's REST API (Messages, version 2010-04-01), or a service that speaks it."""

from typing import Any
from urllib.parse import quote, urlencode

from libs.common.domain.action_config import read_config
from libs.common.domain.configs.messages import SendSmsConfig
from libs.common.domain.faults import is_object
from libs.common.security.http_client import OutgoingRequest
from services.executor.actions.base import Attempt
from services.executor.actions.client import ERROR_STATUS, GuardedClient, vendor_reason, with_our_headers
from services.executor.actions.http import basic_auth

NAME = "send_sms"


class SmsAction:
    """The action."""

    def __init__(self, client: GuardedClient) -> None:
        self._client = client

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """Send it; the output is what the service says of the message. Raises `ActionFailed`."""
        wanted: SendSmsConfig = read_config(config, SendSmsConfig)
        response = await self._client.send(build_request(wanted, attempt), attempt)
        answer: dict[str, Any] = response.body if is_object(response.body) else {}
        if response.status >= ERROR_STATUS:
            raise self._client.refusal(response, vendor_reason(response.body))
        return {"sid": answer.get("sid"), "status": answer.get("status"), "segments": _segments(answer)}


def build_request(wanted: SendSmsConfig, attempt: Attempt) -> OutgoingRequest:
    """The request that creates a message."""
    sender = {"From": wanted.sender} if wanted.sender else {"MessagingServiceSid": wanted.messaging_service_sid or ""}
    form = urlencode({"To": wanted.to, **sender, "Body": wanted.body})
    headers = with_our_headers(
        {"Authorization": basic_auth(wanted.account_sid, wanted.auth_token), "Accept": "application/json"},
        attempt, "application/x-www-form-urlencoded",
    )  # fmt: skip
    url = f"{wanted.base_url.rstrip('/')}/2010-04-01/Accounts/{quote(wanted.account_sid, safe='')}/Messages.json"
    return OutgoingRequest("POST", url, headers, attempt.timeout_seconds, body=form.encode())


def _segments(answer: dict[str, Any]) -> int | None:
    count = answer.get("num_segments")
    return int(count) if isinstance(count, str) and count.isascii() and count.isdigit() and len(count) < 4 else None
