"""Every preset: what its vendor sends passes, and nothing near it does."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.security.webhook_auth.scheme import Verdict
from tests.senders import OTHER_SECRET, SECRET, SENDERS, Sending
from tests.unit.webhook_auth.calls import NOW, URL, call_of, scheme_of

NAMES = sorted(SENDERS)
TIMED = [name for name in NAMES if SENDERS[name].timed]
KEYED = [name for name in NAMES if SENDERS[name].secret is not None]
DELIVERY_IDS = {"gitlab signed": "webhook-id", "standard_webhooks": "webhook-id", "standard_webhooks v1a": "webhook-id"}
BOUND = [name for name in NAMES if name != "gitlab"]
"""GitLab's token says nothing of the body."""


def sent(name: str, secret: str = SECRET, seconds_ago: int = 0) -> tuple[dict[str, str], bytes]:
    """A call of a vendor: headers and body."""
    sender, when = SENDERS[name], NOW - timedelta(seconds=seconds_ago)
    body = sender.body(when)
    return sender.sign(Sending(URL, body, when), secret), body


def judged(name: str, headers: Mapping[str, str], body: bytes, *secrets: str, url: str = URL) -> Verdict:
    sender = SENDERS[name]
    valid = secrets or ((SECRET,) if sender.secret is not None else ())
    call = call_of(headers, url, content_type=sender.content_type)
    return scheme_of(sender.auth, *valid).verify(call, body, NOW)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_vendor_sends_passes(name: str) -> None:
    assert judged(name, *sent(name)).failed_check is None


@pytest.mark.parametrize("name", NAMES)
def test_another_secret_does_not(name: str) -> None:
    expected = "bad_token" if name == "gitlab" else "signature"
    assert judged(name, *sent(name, OTHER_SECRET)).failed_check == expected


@pytest.mark.parametrize("name", BOUND)
def test_another_body_does_not(name: str) -> None:
    headers, body = sent(name)
    for other in (body + b"&x=1", body[:-2], body.replace(b"1", b"2"), b""):
        assert judged(name, headers, other).failed_check == "signature"


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("ago", [-86_400, -301, 301, 86_400])
def test_an_old_call_or_one_from_the_future_does_not(name: str, ago: int) -> None:
    assert judged(name, *sent(name, seconds_ago=ago)).failed_check == "timestamp"


@pytest.mark.parametrize("name", [name for name in TIMED if name != "linear"])
def test_a_fresh_time_does_not_renew_an_old_signature(name: str) -> None:
    (old, body), (fresh, _) = sent(name, seconds_ago=1000), sent(name)
    if name == "stripe":
        mixed = {"stripe-signature": old["stripe-signature"].replace("t=", "t=9,t=")}
        mixed["stripe-signature"] = fresh["stripe-signature"].partition(",")[0] + "," + mixed["stripe-signature"]
    else:
        mixed = old | {header: value for header, value in fresh.items() if header.endswith("timestamp")}
    assert judged(name, mixed, body).failed_check == "signature"


@pytest.mark.parametrize("name", sorted(DELIVERY_IDS))
def test_an_id_is_signed_where_the_scheme_has_one(name: str) -> None:
    headers, body = sent(name)
    assert judged(name, headers | {DELIVERY_IDS[name]: "msg_2"}, body).failed_check == "signature"
    nameless = SENDERS[name].sign(Sending(URL, body, NOW, id=""), SECRET)
    assert judged(name, nameless, body).failed_check == "signature"


@pytest.mark.parametrize("name", KEYED)
def test_two_secrets_are_valid_at_once_and_the_verdict_says_which(name: str) -> None:
    for secret, index in ((OTHER_SECRET, 0), (SECRET, 1)):
        verdict = judged(name, *sent(name, secret), OTHER_SECRET, SECRET)
        assert (verdict.failed_check, verdict.secret_index) == (None, index)


@pytest.mark.parametrize("name", NAMES)
def test_a_call_without_its_headers_does_not_pass(name: str) -> None:
    headers, body = sent(name)
    assert judged(name, {}, body).failed_check == ("missing_token" if name == "gitlab" else "signature")
    for header in headers:
        without = {one: value for one, value in headers.items() if one != header}
        is_delivery = header.endswith(("delivery", "idempotency-token", "shopify-webhook-id", "idempotency-key"))
        assert (judged(name, without, body).failed_check is None) is is_delivery


@pytest.mark.parametrize(
    ("name", "header", "first", "separator"),
    [("stripe", "stripe-signature", "v1=" + "0" * 64, ","), ("standard_webhooks", "webhook-signature", "v1,AAAA", " ")],
)
def test_only_so_many_signatures_are_looked_at(name: str, header: str, first: str, separator: str) -> None:
    headers, body = sent(name)
    stamp, good = f"t={int(NOW.timestamp())},", headers[header].rpartition(" ")[2]
    if name == "stripe":
        good = good.split(",")[1]
    for wrong, expected in ((9, None), (10, "signature")):
        offered = separator.join([first] * wrong + [good])
        given_header = stamp + offered if name == "stripe" else offered
        assert judged(name, headers | {header: given_header}, body).failed_check == expected


def test_a_parameter_that_comes_twice_with_one_value_counts_once() -> None:
    headers, _ = sent("twilio")
    assert judged("twilio", headers, SENDERS["twilio"].body(NOW) + b"&Digits=1234").failed_check is None
    assert judged("twilio", headers, SENDERS["twilio"].body(NOW) + b"&Digits=1235").failed_check == "signature"


@pytest.mark.parametrize("name", ["twilio", "hubspot"])
def test_the_address_is_signed_where_the_scheme_has_it(name: str) -> None:
    headers, body = sent(name)
    assert judged(name, headers, body, url=URL + "&more=1").failed_check == "signature"
    assert judged(name, headers, body, url=URL.replace("/webhooks/", "/webhookz/")).failed_check == "signature"


@pytest.mark.parametrize("name", BOUND)
@given(data=st.data())
def test_a_flipped_bit_of_the_body_never_passes(name: str, data: st.DataObject) -> None:
    headers, body = sent(name)
    position, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    flipped = body[:position] + bytes([body[position] ^ (1 << bit)]) + body[position + 1 :]
    assert judged(name, headers, flipped).failed_check == "signature"


def _is_read_alike(name: str, header: str, value: str, flipped: str) -> bool:
    """Hex is read in either case, names of schemes likewise; nothing else has two spellings."""
    in_hex = name in ("github", "stripe", "slack", "zoom", "linear", "discord") and "timestamp" not in header
    return in_hex and value.lower() == flipped.lower()


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_flipped_bit_of_what_is_signed_or_signs_never_passes(name: str, data: st.DataObject) -> None:
    headers, body = sent(name)
    signing = [one for one in headers if not one.endswith(("delivery", "idempotency-token", "shopify-webhook-id"))]
    signing = [one for one in signing if one != "idempotency-key"]
    header = data.draw(st.sampled_from(signing))
    value = headers[header]
    if header == "stripe-signature":  # `v0` is not looked at, by Stripe's own rule
        value = value.rpartition(",v0=")[0]
    if header == "webhook-signature":  # nor need every signature of several be right
        value = value.rpartition(" ")[2]
    position, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 7))
    flipped = value[:position] + chr(ord(value[position]) ^ (1 << bit)) + value[position + 1 :]
    if not _is_read_alike(name, header, value, flipped):
        assert judged(name, headers | {header: flipped}, body).failed_check is not None


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(max_size=200), body=st.binary(max_size=100))
def test_nothing_that_a_caller_sends_raises(name: str, text: str, body: bytes) -> None:
    headers, _ = sent(name)
    for header in headers:
        assert judged(name, dict.fromkeys(headers, text) | {"host": text}, body).failed_check is not None
        judged(name, headers | {header: text}, body)
