"""`send_sms` against the recorded contract of Twilio's Messages resource (REST API of 2010-04-01)."""

import base64
import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

from services.executor.actions.all import OwnedEffects
from tests.integration.actions.conftest import OURS, Vendor, failure_of, run

SID = "AC0123456789abcdef0123456789abcdef"
CREATED: dict[str, Any] = {
    "account_sid": SID, "api_version": "2010-04-01", "body": "Hi there", "date_sent": None,
    "date_created": "Thu, 24 Aug 2023 05:01:45 +0000", "date_updated": "Thu, 24 Aug 2023 05:01:45 +0000",
    "direction": "outbound-api", "error_code": None, "error_message": None, "from": "+15557122661", "num_media": "0",
    "num_segments": "1", "price": None, "price_unit": None, "messaging_service_sid": None,
    "sid": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "status": "queued", "to": "+15558675310",
    "subresource_uris": {"media": f"/2010-04-01/Accounts/{SID}/Messages/SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/Media.json"},
    "uri": f"/2010-04-01/Accounts/{SID}/Messages/SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.json",
}  # fmt: skip
"""The answer as its documentation shows it."""
REFUSED = {
    "code": 21211, "message": "The 'To' number +1555 is not a valid phone number.",
    "more_info": "https://www.twilio.com/docs/errors/21211", "status": 400,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "account_sid": SID, "auth_token": "t0ken", "from_": "+15557122661", "to": "+15558675310", "body": "Hi there & ü",
}  # fmt: skip


async def test_the_request_is_the_documented_one(effects: OwnedEffects, vendor: Vendor) -> None:
    vendor.answers(201, json.dumps(CREATED).encode(), Content_Type="application/json")
    output = await run(effects, "send_sms", **CONFIG, base_url=f"{vendor.url}/")
    call = vendor.the_call()
    assert (call.method, call.target) == ("POST", f"/2010-04-01/Accounts/{SID}/Messages.json")
    assert parse_qsl(call.body.decode(), strict_parsing=True) == [
        ("To", "+15558675310"), ("From", "+15557122661"), ("Body", "Hi there & ü"),
    ]  # fmt: skip
    expected = {
        "authorization": "Basic " + base64.b64encode(f"{SID}:t0ken".encode()).decode(),
        "content-type": "application/x-www-form-urlencoded", "accept": "application/json", **OURS,
    }  # fmt: skip
    assert {name: call.headers[name] for name in expected} == expected
    assert output == {"sid": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "status": "queued", "segments": 1}


async def test_a_messaging_service_in_place_of_a_number(effects: OwnedEffects, vendor: Vendor) -> None:
    vendor.answers(201, json.dumps(CREATED).encode(), Content_Type="application/json")
    config = {**CONFIG, "from_": None, "messaging_service_sid": "MG1", "to": 15558675310}
    await run(effects, "send_sms", **config, base_url=vendor.url)
    assert dict(parse_qsl(vendor.the_call().body.decode())) == {
        "To": "15558675310", "MessagingServiceSid": "MG1", "Body": "Hi there & ü",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "answer", "message", "wait"),
    [
        (400, REFUSED, "400: error 21211: The 'To' number +1555 is not a valid phone number.", None),
        (401, {"code": 20003, "message": "Authenticate", "status": 401}, "401: error 20003: Authenticate", None),
        (429, {"code": 20429, "message": "Too Many Requests", "status": 429}, "429: error 20429: Too Many Requests", 3),
        (503, {}, "503", None),
    ],
)
async def test_a_refusal_says_what_the_service_says(
    effects: OwnedEffects, vendor: Vendor, status: int, answer: dict[str, Any], message: str, wait: float | None
) -> None:
    headers = {} if wait is None else {"Retry_After": str(wait)}
    vendor.answers(status, json.dumps(answer).encode(), Content_Type="application/json", **headers)
    failure = await failure_of(effects, "send_sms", **CONFIG, base_url=vendor.url)
    assert (failure.error_class, failure.http_status) == ("http_status", status)
    assert (failure.message, failure.retry_after_seconds) == (f"the endpoint answered {message}", wait)


@pytest.mark.parametrize(
    ("change", "path"),
    [({"account_sid": "../.."}, "account_sid"), ({"body": "x" * 1_601}, "body"), ({"to": ""}, "to")],
)
async def test_what_templates_gave_cannot_leave_its_place(
    effects: OwnedEffects, vendor: Vendor, change: dict[str, Any], path: str
) -> None:
    failure = await failure_of(effects, "send_sms", **{**CONFIG, **change}, base_url=vendor.url)
    assert (failure.error_class, failure.message.split()[0]) == ("invalid_config", path)
    assert vendor.calls == []


async def test_the_service_must_not_be_inside(effects: OwnedEffects) -> None:
    failure = await failure_of(effects, "send_sms", **CONFIG, base_url="http://169.254.169.254")
    assert failure.error_class == "blocked"
