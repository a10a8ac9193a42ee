"""Keys are random, kept as hashes and compared as wholes; headers are kept without them."""

import pytest

from libs.common.security.credentials import constant_time_equal, hash_key, new_api_key, new_webhook_secret
from libs.common.security.redaction import redact_headers


def test_a_key_is_shown_once_and_kept_as_its_hash() -> None:
    made = new_api_key(bytes(range(32)))
    assert made.key.startswith("sbk_")
    assert made.key.startswith(made.prefix)
    assert len(made.prefix) < len(made.key) / 2
    assert made.hash == hash_key(made.key)
    assert made.key.encode() not in made.hash


def test_different_random_gives_different_keys() -> None:
    assert new_api_key(b"a" * 32).key != new_api_key(b"b" * 32).key
    assert new_webhook_secret(b"a" * 32).startswith("whsec_")


@pytest.mark.parametrize(
    ("presented", "same"), [("secret", True), ("secre", False), ("secret ", False), ("", False), ("sécret", False)]
)
def test_credentials_are_compared_as_wholes(presented: str, same: bool) -> None:
    assert constant_time_equal(presented, "secret") is same


def test_half_a_surrogate_pair_is_just_another_wrong_credential() -> None:
    assert not constant_time_equal("\ud800", "secret")


def test_headers_are_kept_without_credentials() -> None:
    kept = redact_headers(
        {
            "authorization": "Bearer a", "cookie": "b", "x-api-key": "c", "x-my-token": "d", "x-client-secret": "e",
            "x-signature-256": "kept", "content-type": "kept",
        }
    )  # fmt: skip
    assert [name for name, value in kept.items() if value == "kept"] == ["x-signature-256", "content-type"]
    assert set(kept.values()) == {"***", "kept"}
