"""What is kept of a request: headers and parameters without those that open something."""

import pytest

from libs.common.security.redaction import redact_headers, redact_query


@pytest.mark.parametrize(
    "name",
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-gitlab-token", "x-webhook-token",
     "x-my-token", "x-client-secret", "x-password", "apikey", "x-amz-security-token"],
)  # fmt: skip
def test_a_header_that_opens_something_is_masked(name: str) -> None:
    assert redact_headers({name: "battery"}) == {name: "***"}


@pytest.mark.parametrize("name", ["x-signature-256", "stripe-signature", "content-type", "x-request-id", "host"])
def test_other_headers_are_kept(name: str) -> None:
    assert redact_headers({name: "kept"}) == {name: "kept"}


def test_the_header_that_a_trigger_compares_is_masked_whatever_its_name() -> None:
    assert redact_headers({"x-partner": "battery", "x-other": "kept"}, "x-partner") == {
        "x-partner": "***",
        "x-other": "kept",
    }


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", ""), ("a=1&b=2", "a=1&b=2"), ("token=battery", "token=***"),
        ("a=1&access_token=battery&b", "a=1&access_token=***&b"),
        ("TOKEN=battery", "TOKEN=***"), ("t%6Fken=battery", "t%6Fken=***"), ("api+key=1", "api+key=1"),
        ("token", "token"), ("&&=&token==battery=", "&&=&token=***"), ("x=token%3Dbattery", "x=token%3Dbattery"),
    ],
)  # fmt: skip
def test_parameters_with_telling_names_are_masked_and_the_rest_kept_to_the_letter(query: str, kept: str) -> None:
    assert redact_query(query) == kept
