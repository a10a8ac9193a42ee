"""Tokens and published keys: a key is of one kind and checks that kind only; nothing that comes in raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.security.jwks import MOST_KEYS, read_jwks
from libs.common.security.jwt import Expected, failed_claim, read_token, secret_check
from tests.tokens import ALGORITHMS, KEYS, SECRET, encoded, jwk, jwks, key_name, pem, signed

ANYBODY = Expected(None, None, 30)
PUBLISHED = {key.id: key for key in read_jwks(jwks())}
CLAIMS = {"sub": "u", "exp": 2_000_000_000}


def passes(text: str, algorithm: str) -> bool:
    """Whether the key that the algorithm is for passes the token."""
    token = read_token(text)
    if token is None or token.algorithm != algorithm:
        return False
    name = key_name(algorithm)
    check = PUBLISHED[name].check(algorithm) if name else secret_check(algorithm, SECRET.encode())
    assert check is not None
    return check(token.signature, token.content)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_checks_the_algorithms_that_it_is_for_and_no_other(algorithm: str) -> None:
    token = read_token(signed(CLAIMS, algorithm))
    assert token is not None
    assert (token.algorithm, token.claims(), token.key_id) == (algorithm, CLAIMS, key_name(algorithm) or None)
    assert passes(signed(CLAIMS, algorithm), algorithm)
    right = {
        name
        for name, key in PUBLISHED.items()
        if (check := key.check(algorithm)) and check(token.signature, token.content)
    }
    assert right == {key_name(algorithm)} - {""}
    assert (secret_check(algorithm, SECRET.encode()) is None) == (not algorithm.startswith("HS"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.data())
def test_what_is_changed_after_signing_does_not_pass(algorithm: str, data: st.DataObject) -> None:
    good = signed(CLAIMS, algorithm)
    position, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 6))
    changed = good[:position] + chr(ord(good[position]) ^ (1 << bit)) + good[position + 1 :]
    assert not passes(changed, algorithm)


@given(claims=st.dictionaries(st.text(max_size=9), st.one_of(st.none(), st.booleans(), st.integers(), st.text())))
def test_signed_claims_come_out_as_they_went_in(claims: dict[str, Any]) -> None:
    token = read_token(signed(claims, "EdDSA"))
    assert token is not None and token.claims() == json.loads(json.dumps(claims))
    assert failed_claim(token.claims(), ANYBODY, 1e9) in (None, "time")
    assert (failed_claim({**claims, "exp": 1e9 - 31}, ANYBODY, 1e9)) == "time"


@given(st.one_of(st.text(), st.lists(st.binary().map(encoded), min_size=3, max_size=3).map(".".join)))
def test_nothing_that_comes_in_raises(text: str) -> None:
    token = read_token(text)
    assert token is None or isinstance(token.claims(), dict)


@given(
    st.one_of(
        st.binary(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
    )
)
def test_what_is_no_set_of_keys_is_one_error(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON Web Key Set|no key"):
        read_jwks(document)


@pytest.mark.parametrize("head", [{"alg": "none"}, {"alg": "None"}, {"alg": None}, {"alg": ["RS256"]}, {"crit": []}])
def test_a_token_chooses_no_algorithm(head: dict[str, Any]) -> None:
    assert not passes(signed(CLAIMS, "RS256", **head), "RS256")
    unsigned = f"{encoded(json.dumps({'alg': 'none'}).encode())}.{encoded(b'{}')}."
    assert read_token(unsigned) is None or not passes(unsigned, "RS256")


@pytest.mark.parametrize("material", [pem("rsa"), json.dumps(jwk("rsa")).encode(), jwks()])
def test_a_public_key_is_no_shared_secret(material: bytes) -> None:
    forged = signed(CLAIMS, "HS256", secret=material, kid="rsa")
    token = read_token(forged)
    assert token is not None
    assert PUBLISHED["rsa"].check(token.algorithm) is None
    as_rsa = PUBLISHED["rsa"].check("RS256")
    assert as_rsa is not None and not as_rsa(token.signature, token.content)


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": encoded(SECRET.encode())}, jwk("rsa", use="enc"), jwk("rsa", n=encoded(b"\xff" * 128)),
        jwk("rsa", e="AQ"), jwk("rsa", e=""), jwk("rsa", n="?"), jwk("p256", crv="P-384"), jwk("p256", crv="secp256k1"),
        jwk("p256", y=jwk("p256")["x"]), jwk("ed", x="AA"), jwk("ed", crv="X25519"), {"kty": "RSA"}, {}, [], None, 7,
    ],
)  # fmt: skip
def test_unusable_keys_are_left_out(entry: Any) -> None:
    document = {"keys": [entry, jwk("ed")], "other": 1}
    assert [key.id for key in read_jwks(json.dumps(document).encode())] == ["ed"]


def test_a_key_for_one_algorithm_checks_no_other() -> None:
    (key,) = read_jwks(json.dumps({"keys": [jwk("rsa", alg="RS256", kid=None)]}).encode())
    assert key.id is None and key.check("RS256") is not None
    assert [key.check(one) for one in ALGORITHMS if one != "RS256"] == [None] * (len(ALGORITHMS) - 1)


def test_sets_are_bounded() -> None:
    many = {"keys": [jwk("ed", kid=str(number)) for number in range(MOST_KEYS + 1)]}
    assert len(read_jwks(json.dumps(many).encode())) == MOST_KEYS
    assert len(KEYS) == len(PUBLISHED)
