"""Masking: no value of a secret is left in what is recorded, in whatever form and place it stood there."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.execution import Failure
from libs.common.domain.faults import is_array, is_object
from libs.common.domain.masking import MASK, Masker, mask_values

SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
PASSWORD = 'pä ss/"w\\o+rd&1\n2='


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (SECRET, MASK),
        (f"Bearer {SECRET}", f"Bearer {MASK}"),
        (f"{SECRET}{SECRET}x", f"{MASK}{MASK}x"),
        ({"a": [1, {"b": f"x{SECRET}"}], "c": None}, {"a": [1, {"b": f"x{MASK}"}], "c": None}),
        ({f"k-{SECRET}": True}, {f"k-{MASK}": True}),
        (("in a tuple", SECRET), ["in a tuple", MASK]),
        (SECRET[:-1], SECRET[:-1]),
    ],
    ids=range(7),
)
def test_a_secret_is_masked_where_it_stands(value: Any, masked: Any) -> None:
    assert mask_values(value, [SECRET]) == masked


ENCODERS: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: f" {text.strip()} ",
    lambda text: quote(text),
    lambda text: quote_plus(text),
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="!*'()"),
    lambda text: re.sub("%..", lambda found: found.group().lower(), quote(text)),
    lambda text: urlencode({"q": text}),
    lambda text: json.dumps({"k": text}),
    lambda text: json.dumps({"k": text}, ensure_ascii=False),
    lambda text: json.dumps({"k": text}).replace("/", "\\/"),
    lambda text: repr([text]),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
]


@pytest.mark.parametrize("encode", ENCODERS, ids=range(len(ENCODERS)))
@pytest.mark.parametrize("secret", [SECRET, PASSWORD])
def test_common_encodings_are_masked_too(secret: str, encode: Callable[[str], str]) -> None:
    shown = mask_values({"text": f"before {encode(secret)} after"}, [secret])["text"]
    assert MASK in shown
    assert encode(secret).strip("=[]' ") not in shown
    assert shown.startswith("before ") and shown.endswith(" after")


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_a_secret_within_base64_is_masked_but_for_the_bits_at_its_ends(before: str, after: str) -> None:
    shown = mask_values(base64.b64encode(f"{before}{SECRET}{after}".encode()).decode(), [SECRET])
    assert MASK in shown
    assert len(shown.replace(MASK, "")) <= len(base64.b64encode((before + after).encode())) + 4


def test_short_secrets_are_masked_only_as_whole_texts() -> None:
    value = {"pin": "123", "other": "1234", "number": 123, "123": ["a123", "123"]}
    masked = {"pin": MASK, "other": "1234", "number": 123, MASK: ["a123", MASK]}
    assert mask_values(value, ["123"]) == masked
    assert mask_values({"a": ""}, [""]) == {"a": ""}


def test_numbers_that_hold_a_secret_are_masked() -> None:
    value = {"int": 471147, "within": 1471147.5, "other": 47114, "yes": True, "nothing": None}
    assert mask_values(value, ["471147"]) == {**value, "int": MASK, "within": MASK}


def test_the_longest_secret_wins_and_names_stay_apart() -> None:
    secrets = ["hunter2", "hunter2-extended", "swordfish"]
    value = {"hunter2": 1, "swordfish": 2, "text": "hunter2-extended or hunter2"}
    assert mask_values(value, secrets) == {"***": 1, "****": 2, "text": "*** or ***"}


def test_what_an_error_quotes_of_a_long_secret_is_masked() -> None:
    secret = "it's " + "0123456789" * 10
    failure = Failure("template", f"int(secrets.LONG): {secret[:60]!r} is not a number in range", http_status=None)
    shown = mask_values(failure, [secret])
    assert isinstance(shown, Failure)
    assert shown.message == f'int(secrets.LONG): "{MASK}" is not a number in range'


def test_a_struct_keeps_its_numbers() -> None:
    failure = Failure("http_status", f"said {SECRET}", http_status=4711, retry_after_seconds=1.5)
    shown = mask_values(failure, [SECRET, "4711"])
    assert shown == msgspec.structs.replace(failure, message=f"said {MASK}")


def test_nothing_to_mask_costs_no_copy() -> None:
    value = {"a": ["b", {"c": 1}]}
    assert mask_values(value, ()) is value
    assert mask_values(value, [SECRET, "12"]) is value


def test_what_cannot_be_looked_through_is_masked_as_a_whole() -> None:
    deep: Any = SECRET
    for _ in range(20_000):
        deep = [deep]
    assert mask_values(deep, [SECRET]) == MASK
    assert mask_values(["\ud800", SECRET], [SECRET]) == MASK


def test_the_value_itself_is_left_alone() -> None:
    value = {"a": [SECRET]}
    assert Masker([SECRET]).mask(value) == {"a": [MASK]}
    assert value == {"a": [SECRET]}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
UNESCAPED = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=12)
"""Texts that JSON writes as they are: the digits of an escape may be those of a secret by chance."""
SECRETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*"), min_size=1, max_size=80)
PLAIN_SECRETS = st.text("abcdefghij0123456789-._~ /+%äß\\\n", min_size=4, max_size=24)


def planted(secrets: list[str], other: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Some JSON with the secrets at any place in it, alone or within other texts."""
    secret = st.sampled_from(secrets)
    around = st.tuples(other, secret, other).map("".join)
    texts = st.one_of(secret, around, other)
    numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    value = st.recursive(
        texts | numbers | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )
    return st.tuples(value, st.dictionaries(around, around, min_size=1, max_size=2))


def texts_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if is_array(value):
        return [text for item in value for text in texts_of(item)]
    if is_object(value):
        return [text for name, item in value.items() for text in (name, *texts_of(item))]
    return []


@given(st.data(), st.lists(SECRETS, min_size=1, max_size=3))
def test_no_text_or_name_holds_a_secret(data: st.DataObject, secrets: list[str]) -> None:
    shown = texts_of(mask_values(data.draw(planted(secrets, TEXTS)), secrets))
    for secret in secrets:
        if len(secret) < 4:
            assert secret not in shown
        else:
            assert not any(secret in text for text in shown)


@given(st.data(), PLAIN_SECRETS.filter(lambda secret: not any(secret in word for word in ("true", "false", "null"))))
def test_a_secret_is_not_in_the_encoded_result(data: st.DataObject, secret: str) -> None:
    value = data.draw(planted([secret, quote(secret), base64.b64encode(secret.encode()).decode()], UNESCAPED))
    shown = mask_values(value, [secret])
    for encoded in (msgspec.json.encode(shown).decode(), json.dumps(shown, separators=(",", ":"))):
        for form in (
            secret,
            json.dumps(secret)[1:-1],
            quote(secret),
            base64.b64encode(secret.encode()).decode().rstrip("="),
        ):
            assert form not in encoded
