"""Schemes over the address: which address counts, and how it is written."""

import pytest

from libs.common.security.webhook_auth.addressed import called_addresses
from tests.senders import SECRET, Sending, hubspot, twilio
from tests.unit.webhook_auth.calls import NOW, call_of, scheme_of

PATH = "/webhooks/x"


def passes(name: str, signed_url: str, called_url: str, public_url: str) -> bool:
    """Whether a call signed for one address passes at another."""
    sign = {"hubspot": hubspot, "twilio": twilio}[name]
    headers = sign(Sending(signed_url, b"", NOW), SECRET)
    scheme = scheme_of({"type": name}, SECRET, public_url=public_url)
    return scheme.verify(call_of(headers, called_url), b"", NOW).failed_check is None


@pytest.mark.parametrize("name", ["hubspot", "twilio"])
def test_the_public_address_counts_whatever_the_call_names_as_its_host(name: str) -> None:
    inside = f"http://10.0.0.5:8002{PATH}?a=1"
    assert passes(name, f"https://hooks.example.com{PATH}?a=1", inside, "https://hooks.example.com")
    assert passes(name, f"https://hooks.example.com{PATH}?a=1", inside, "https://hooks.example.com/")
    assert passes(name, f"https://example.com/in{PATH}?a=1", inside, "https://example.com/in")
    assert not passes(name, inside, inside, "https://hooks.example.com")


@pytest.mark.parametrize("name", ["hubspot", "twilio"])
def test_without_one_it_is_the_call_s_own_by_either_scheme(name: str) -> None:
    for scheme in ("https", "http"):
        assert passes(name, f"{scheme}://hooks.example.com{PATH}", f"http://hooks.example.com{PATH}", "")
    assert not passes(name, f"https://other.example.com{PATH}", f"https://hooks.example.com{PATH}", "")


def test_a_call_without_a_query_has_no_question_mark() -> None:
    assert called_addresses(call_of({}, f"https://a{PATH}"), "https://b") == [f"https://b{PATH}"]
    assert called_addresses(call_of({}, f"https://a{PATH}?"), "https://b") == [f"https://b{PATH}"]


def test_hubspot_signs_the_address_with_some_characters_decoded() -> None:
    """HubSpot, "Validating requests": the characters that are decoded, and no others."""
    encoded = "https://hooks.example.com/webhooks/x?a=%3A%2f%3F%40%21%24%27%28%29%2A%2C%3b&b=%20%26%C3%A9"
    signed = "https://hooks.example.com/webhooks/x?a=:/?@!$'()*,;&b=%20%26%C3%A9"
    assert passes("hubspot", signed, encoded, "https://hooks.example.com")
    assert not passes("hubspot", encoded, encoded, "https://hooks.example.com")
    assert passes("twilio", encoded, encoded, "https://hooks.example.com")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_twilio_s_signature_must_bind_the_body(content_type: str) -> None:
    url, body = f"https://hooks.example.com{PATH}", b'{"a": 1}'
    headers = twilio(Sending(url, b"", NOW), SECRET)
    scheme = scheme_of({"type": "twilio"}, SECRET)
    assert scheme.verify(call_of(headers, url, content_type=content_type), b"", NOW).failed_check is None
    assert scheme.verify(call_of(headers, url, content_type=content_type), body, NOW).failed_check == "signature"
