"""Samples of what the vendors of the presets send, to try a trigger with: shaped as their documents show it, with
invented values.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """A call as it would come in. Header names are lower-case."""

    headers: Mapping[str, str]
    body: Any


def _json(body: Any, **headers: str) -> Sample:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Sample({"content-type": "application/json", **named}, body)


SAMPLES: Mapping[str, Sample] = {
    "generic": _json({"id": "evt-1", "type": "order.paid", "amount": 12050, "customer": {"id": "c-1", "name": "Ada"}}),
    "github": _json(
        {
            "ref": "refs/heads/main",
            "repository": {"id": 1296269, "full_name": "octocat/Hello-World", "private": False},
            "pusher": {"name": "octocat", "email": "octocat@example.com"},
            "commits": [{"id": "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d", "message": "Fix all the bugs"}],
        },
        x_github_event="push", x_github_delivery="72d3162e-cc78-11e3-81ab-4c9367dc0958",
    ),
    "stripe": _json(
        {
            "id": "evt_1NG8Du2eZvKYlo2CUI79vXWy", "object": "event", "type": "payment_intent.succeeded",
            "created": 1686089970, "livemode": False,
            "data": {"object": {"id": "pi_3MtwBwLkdIwHu7ix28a3tqPa", "amount": 2000, "currency": "usd"}},
        }
    ),
    "slack": _json(
        {
            "type": "event_callback", "team_id": "T123ABC456", "event_id": "Ev123ABC456", "event_time": 1234567890,
            "event": {"type": "app_mention", "user": "U123ABC456", "text": "hello", "channel": "C123ABC456"},
        }
    ),
    "shopify": _json(
        {"id": 820982911946154508, "email": "jon@example.com", "total_price": "254.98", "currency": "USD",
         "line_items": [{"id": 487817672276298554, "title": "Aviator sunglasses", "quantity": 1, "price": "89.99"}]},
        x_shopify_topic="orders/create", x_shopify_webhook_id="b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
    ),
    "gitlab": _json(
        {"object_kind": "push", "ref": "refs/heads/main", "user_username": "jsmith", "total_commits_count": 1,
         "project": {"id": 15, "path_with_namespace": "mike/diaspora"}},
        x_gitlab_event="Push Hook", x_gitlab_event_uuid="13792a34-cac6-4fda-95a8-c58e00a3954e",
    ),
    "twilio": Sample(
        {"content-type": "application/x-www-form-urlencoded"},
        {"MessageSid": "SM00000000000000000000000000000000", "From": "+14155550100", "To": "+14155550101",
         "Body": "hello", "NumMedia": "0"},
    ),
    "discord": _json({"version": 1, "application_id": "1234560123453231555", "type": 1,
                      "event": {"type": "APPLICATION_AUTHORIZED", "timestamp": "2024-10-18T14:42:53.064834"}}),
    "linear": _json(
        {"action": "create", "type": "Issue", "createdAt": "2020-01-23T12:53:18.084Z",
         "webhookTimestamp": 1676056940508,
         "data": {"id": "2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9", "title": "Do not lose calls", "number": 7}},
        linear_delivery="234d1a4e-b617-4388-90fe-adc3633d6b72", linear_event="Issue",
    ),
    "zoom": _json({"event": "meeting.started", "event_ts": 1626230691572,
                   "payload": {"account_id": "AAAAAABBBB", "object": {"id": "1234567890", "topic": "My Meeting"}}}),
    "hubspot": _json([{"objectId": 1246965, "propertyName": "lifecyclestage", "propertyValue": "subscriber",
                       "eventId": 3816279340, "subscriptionType": "contact.propertyChange", "attemptNumber": 0}]),
    "standard_webhooks": _json(
        {"type": "contact.created", "timestamp": "2022-11-03T20:26:10.344522Z", "data": {"id": "1f81eb52"}},
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek", webhook_timestamp="1614265330",
    ),
}  # fmt: skip
"""By the type of the trigger's auth; `generic` for the others."""


def sample_for(auth_type: str) -> Sample:
    """The sample that fits such a trigger."""
    return SAMPLES.get(auth_type, SAMPLES["generic"])
