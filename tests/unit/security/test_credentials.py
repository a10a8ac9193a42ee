"""Keys are random, kept as hashes, shown by no repr, and compared as wholes in constant time."""

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any

import pytest

from libs.common.clock import new_id
from libs.common.domain.trigger import WebhookConfig
from libs.common.domain.webhook_auth import ApiKeyAuth, BasicAuth
from libs.common.security.credentials import (
    constant_time_equal,
    hash_key,
    new_api_key,
    new_webhook_secret,
    new_webhook_token,
)
from libs.common.security.signatures import HmacSpec
from libs.common.security.trigger_secrets import TriggerSecret
from libs.common.security.webhook_auth.keyed import github
from libs.common.security.webhook_auth.making import Surroundings, make_scheme
from libs.common.security.webhook_auth.stripe import StripeScheme
from services.webhooks.checks import make_credentials


def test_a_key_has_one_form_and_all_its_random() -> None:
    made = new_api_key(bytes(range(32)))
    assert made.key == "sbk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert made.prefix == "sbk_AAECAwQF"
    assert re.fullmatch(r"sbk_[A-Za-z0-9_-]{43}", new_api_key(b"\xff" * 32).key)


def test_a_key_is_kept_as_its_sha256() -> None:
    made = new_api_key(bytes(range(32)))
    assert made.hash == hash_key(made.key) == hashlib.sha256(made.key.encode()).digest()
    assert hash_key("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_different_random_gives_different_credentials() -> None:
    makers: list[Callable[[bytes], str]] = [
        lambda random: new_api_key(random).key,
        new_webhook_token,
        new_webhook_secret,
    ]
    for make in makers:
        assert len({make(bytes([number]) * 32) for number in range(256)}) == 256
    assert new_webhook_secret(bytes(32)) == "whsec_" + "A" * 43


@pytest.mark.parametrize("secret", ["battery", b"battery"])
def test_no_repr_shows_a_credential(secret: Any) -> None:
    if isinstance(secret, bytes):
        shown: list[object] = [HmacSpec(secrets=(secret,)), github([secret]), StripeScheme((secret,), 300)]
    else:
        held = TriggerSecret(new_id(), secret)
        made = make_credentials(WebhookConfig(auth=ApiKeyAuth()), secret, (held,))
        basic = make_scheme(BasicAuth("me"), [secret], Surroundings())
        shown = [made, make_credentials(WebhookConfig(), secret), made.scheme, held, basic]
    assert "battery" not in f"{shown!r} {shown!s} {shown[0]!s}"


def test_the_repr_of_a_key_shows_what_it_is_recognised_by() -> None:
    made = new_api_key(bytes(range(32)))
    assert made.prefix in repr(made)
    assert made.key not in f"{made!r} {made!s}"


@pytest.mark.parametrize(
    ("presented", "same"), [("secret", True), ("secre", False), ("secret ", False), ("", False), ("sécret", False)]
)
def test_credentials_are_compared_as_wholes(presented: str, same: bool) -> None:
    assert constant_time_equal(presented, "secret") is same


def test_the_time_of_a_comparison_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared has the same length whatever was presented, and is compared by the function made for it."""
    lengths: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        lengths.append((len(left), len(right)))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for presented in ("", "s", "secret", "secret" * 1000):
        constant_time_equal(presented, "secret")
    assert lengths == [(32, 32)] * 4


def test_half_a_surrogate_pair_is_just_another_wrong_credential() -> None:
    assert not constant_time_equal("\ud800", "secret")
