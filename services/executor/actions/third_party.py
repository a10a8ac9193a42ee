"""Runs an action of a third party: reads its config, gives it its context, takes as output only what fits into JSON."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.actions.installed import Plugin
from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed
from libs.common.security.http_client import OutgoingRequest, OutgoingResponse
from services.executor.actions.base import Attempt
from services.executor.actions.client import ERROR_STATUS, GuardedClient, with_our_headers


class ThirdPartyAction:
    """One of them."""

    def __init__(self, plugin: Plugin, client: GuardedClient) -> None:
        self._plugin, self._client = plugin, client

    async def run(self, config: dict[str, Any], attempt: Attempt) -> Any:
        """Do it. Raises `ActionFailed`, and whatever else the third party's code raises."""
        wanted = self._plugin.type.read(config)
        output = await self._plugin.instance.run(wanted, AttemptContext(attempt, self._client))
        try:
            return msgspec.json.decode(msgspec.json.encode(output))
        except (TypeError, ValueError, RecursionError):
            raise ActionFailed(Failure("internal", "the action returned what does not fit into JSON")) from None


class AttemptContext:
    """The context of one attempt (`libs.common.actions.Context`)."""

    def __init__(self, attempt: Attempt, client: GuardedClient) -> None:
        self._attempt, self._client = attempt, client

    @property
    def idempotency_key(self) -> str:
        return self._attempt.idempotency_key

    @property
    def timeout_seconds(self) -> float:
        return self._attempt.timeout_seconds

    @property
    def traceparent(self) -> str:
        return self._attempt.traceparent

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None, json: Any = None, body: bytes | None = None, any_status: bool = False,
    ) -> OutgoingResponse:  # fmt: skip
        """As `Context` says."""
        content_type = "" if json is None else "application/json"
        response = await self._client.send(
            OutgoingRequest(
                method.upper(), url, with_our_headers(headers or {}, self._attempt, content_type),
                self._attempt.timeout_seconds, query or {}, body if json is None else msgspec.json.encode(json),
            ),
            self._attempt,
        )  # fmt: skip
        if response.status >= ERROR_STATUS and not any_status:
            raise self._client.refusal(response)
        return response
