"""`send_notification` against the recorded contracts of the vendors' webhooks: the exact body, and their answers."""

import json
from typing import Any

import pytest

from services.executor.actions.all import OwnedEffects
from services.executor.actions.notification import MAX_DISCORD, MAX_SLACK
from tests.integration.actions.conftest import OURS, Vendor, failure_of, run

CARD: dict[str, Any] = {
    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.2",
    "body": [
        {"type": "TextBlock", "text": "New <deal>", "weight": "Bolder", "size": "Medium", "wrap": True},
        {"type": "TextBlock", "text": "@everyone: 5 > 3 & <!channel>", "wrap": True},
    ],
}  # fmt: skip
MESSAGE = {"title": "New <deal>", "message": "@everyone: 5 > 3 & <!channel>"}

CONTRACTS: list[tuple[str, dict[str, Any], Any, tuple[int, bytes]]] = [
    # https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    ("slack", {}, {"text": "*New &lt;deal&gt;*\n@everyone: 5 &gt; 3 &amp; &lt;!channel&gt;"}, (200, b"ok")),
    (
        "slack", {"payload": {"blocks": [{"type": "divider"}]}},
        {"text": "*New &lt;deal&gt;*\n@everyone: 5 &gt; 3 &amp; &lt;!channel&gt;", "blocks": [{"type": "divider"}]},
        (200, b"ok"),
    ),
    # https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
    (
        "teams", {},
        {
            "type": "message",
            "attachments": [
                {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": CARD}
            ],
        },
        (202, b""),
    ),
    # https://discord.com/developers/docs/resources/webhook#execute-webhook
    (
        "discord", {"username": "Signalbox"},
        {
            "content": "**New <deal>**\n@everyone: 5 > 3 & <!channel>", "allowed_mentions": {"parse": []},
            "username": "Signalbox",
        },
        (204, b""),
    ),
    ("generic", {}, MESSAGE, (200, b"{}")),
    ("generic", {"payload": {"title": "Other", "level": 3}}, {**MESSAGE, "title": "Other", "level": 3}, (201, b"")),
]  # fmt: skip


@pytest.mark.parametrize(("channel", "more", "body", "answer"), CONTRACTS)
async def test_the_request_is_the_documented_one(
    effects: OwnedEffects, vendor: Vendor, channel: str, more: dict[str, Any], body: Any, answer: tuple[int, bytes]
) -> None:
    vendor.answers(*answer)
    output = await run(effects, "send_notification", channel=channel, url=f"{vendor.url}/hook?x=1", **MESSAGE, **more)
    call = vendor.the_call()
    assert (call.method, call.target, json.loads(call.body)) == ("POST", "/hook?x=1", body)
    expected = {"content-type": "application/json", **OURS}
    assert {name: call.headers[name] for name in expected} == expected
    assert output == {"channel": channel, "status": answer[0]}


async def test_without_a_title(effects: OwnedEffects, vendor: Vendor) -> None:
    for channel in ("slack", "teams", "discord", "generic"):
        await run(effects, "send_notification", channel=channel, url=vendor.url, message=5)
    slack, teams, discord, generic = (json.loads(call.body) for call in vendor.calls)
    assert (slack, generic) == ({"text": "5"}, {"title": None, "message": "5"})
    assert discord == {"content": "5", "allowed_mentions": {"parse": []}}
    assert teams["attachments"][0]["content"]["body"] == [{"type": "TextBlock", "text": "5", "wrap": True}]


async def test_a_credential_for_a_generic_webhook(effects: OwnedEffects, vendor: Vendor) -> None:
    headers = {"Authorization": "Bearer t", "X-N": 1}
    await run(effects, "send_notification", channel="generic", url=vendor.url, message="m", headers=headers)
    call = vendor.the_call()
    assert (call.headers["authorization"], call.headers["x-n"]) == ("Bearer t", "1")


@pytest.mark.parametrize(("channel", "limit"), [("slack", MAX_SLACK), ("discord", MAX_DISCORD)])
async def test_a_message_is_cut_to_what_the_vendor_takes(
    effects: OwnedEffects, vendor: Vendor, channel: str, limit: int
) -> None:
    await run(effects, "send_notification", channel=channel, url=vendor.url, message="x" * (limit + 1))
    (text,) = [value for value in json.loads(vendor.the_call().body).values() if isinstance(value, str)]
    assert text == "x" * (limit - 1) + "…"


@pytest.mark.parametrize(
    ("channel", "status", "answer", "retry_after", "message"),
    [
        ("slack", 404, b"no_service", None, "404: no_service"),
        ("slack", 410, b"channel_is_archived", None, "410: channel_is_archived"),
        ("slack", 429, b"rate_limited", "30", "429: rate_limited"),
        ("discord", 400, b'{"message": "Cannot send an empty message", "code": 50006}', None,
         "400: error 50006: Cannot send an empty message"),
        ("discord", 429, b'{"message": "You are being rate limited.", "retry_after": 6.45}', "7", "429"),
        ("teams", 400, b"<html>inside</html>", None, "400"),
    ],
)  # fmt: skip
async def test_a_refusal_is_told_with_the_vendors_word(
    effects: OwnedEffects, vendor: Vendor, channel: str, status: int, answer: bytes, retry_after: str | None,
    message: str,
) -> None:  # fmt: skip
    vendor.answers(
        status, answer, Content_Type="application/json" if answer[:1] == b"{" else "text/html",
        **({"Retry_After": retry_after} if retry_after else {}),
    )  # fmt: skip
    failure = await failure_of(effects, "send_notification", channel=channel, url=vendor.url, message="m")
    assert (failure.error_class, failure.http_status) == ("http_status", status)
    assert failure.message == f"the endpoint answered {message}"
    assert failure.retry_after_seconds == (float(retry_after) if retry_after else None)


@pytest.mark.parametrize(
    "config",
    [
        {"channel": "slack", "message": "m"}, {"channel": "in_app", "url": "http://127.0.0.1", "message": "m"},
        {"channel": "slack", "message": {"a": 1}, "url": "http://127.0.0.1"}, {"message": "m", "url": "http://127.0.0.1"},
        {"channel": "teams", "username": "only Discord has it", "message": "m", "url": "http://127.0.0.1"},
    ],
)  # fmt: skip
async def test_what_is_no_notification_by_webhook(effects: OwnedEffects, config: dict[str, Any]) -> None:
    assert (await failure_of(effects, "send_notification", **config)).error_class == "invalid_config"


async def test_a_webhook_inside_is_not_called(effects: OwnedEffects) -> None:
    failure = await failure_of(effects, "send_notification", channel="slack", url="http://10.0.0.1/x", message="m")
    assert failure.error_class == "blocked"
