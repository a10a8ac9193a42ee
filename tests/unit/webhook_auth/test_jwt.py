"""JSON Web Tokens: by the trigger's algorithm only, in their time, from their issuer, for this audience."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.senders import KEY, OTHER_KEY, SECRET
from tests.unit.webhook_auth.calls import NOW, verdict

RSA = rsa.generate_private_key(65537, 2048)
CURVES = {"ES256": ec.generate_private_key(ec.SECP256R1()), "ES384": ec.generate_private_key(ec.SECP384R1()),
          "ES512": ec.generate_private_key(ec.SECP521R1())}  # fmt: skip
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
ALGORITHMS = [
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
GOOD: dict[str, Any] = {"iss": "partner", "aud": "signalbox", "exp": NOW.timestamp() + 60, "iat": NOW.timestamp()}


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def signature_of(algorithm: str, content: bytes) -> bytes:
    made = HASHES.get(algorithm[2:], hashes.SHA256())
    if algorithm.startswith("HS"):
        return hmac.new(SECRET.encode(), content, getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    if algorithm.startswith("RS"):
        return RSA.sign(content, padding.PKCS1v15(), made)
    if algorithm.startswith("PS"):
        return RSA.sign(content, padding.PSS(padding.MGF1(made), made.digest_size), made)
    if algorithm == "EdDSA":
        return KEY.sign(content)
    size = {"ES256": 32, "ES384": 48, "ES512": 66}[algorithm]
    return b"".join(
        half.to_bytes(size) for half in decode_dss_signature(CURVES[algorithm].sign(content, ec.ECDSA(made)))
    )


def token(algorithm: str = "HS256", claims: Any = GOOD, **head: Any) -> str:
    parts = [json.dumps({"alg": algorithm, "typ": "JWT", **head}).encode(), json.dumps(claims).encode()]
    content = ".".join(encoded(part) for part in parts)
    return f"{content}.{encoded(signature_of(algorithm, content.encode()))}"


def auth(algorithm: str = "HS256", **more: Any) -> dict[str, Any]:
    key = {"R": RSA, "P": RSA, "E": CURVES.get(algorithm, KEY)}.get(algorithm[0])
    keys = {} if key is None else {"public_key": pem(key)}
    return {"type": "jwt", "algorithm": algorithm, **keys, **more}


def failed(presented: str, **more: Any) -> str | None:
    asked = auth(**more)
    return verdict(asked, [SECRET], {"authorization": f"Bearer {presented}"}, b"").failed_check


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_the_trigger_s_algorithm_passes_and_no_other(algorithm: str) -> None:
    for presented in ALGORITHMS:
        assert failed(token(presented), algorithm=algorithm) == (None if presented == algorithm else "signature")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.data())
def test_a_flipped_bit_of_a_token_never_passes(algorithm: str, data: st.DataObject) -> None:
    good = token(algorithm)
    position, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 6))
    flipped = good[:position] + chr(ord(good[position]) ^ (1 << bit)) + good[position + 1 :]
    assert failed(flipped, algorithm=algorithm) is not None


def test_another_key_does_not_pass() -> None:
    other = {"type": "jwt", "algorithm": "EdDSA", "public_key": pem(OTHER_KEY)}
    headers = {"authorization": f"Bearer {token('EdDSA')}"}
    assert verdict(other, [], headers, b"").failed_check == "signature"
    both = {**other, "public_keys": [pem(KEY)]}
    assert verdict(both, [], headers, b"").failed_check is None
    assert verdict(auth(), ["another-secret"], {"authorization": f"Bearer {token()}"}, b"").failed_check == "signature"
    rotated = verdict(auth(), ["another-secret", SECRET], {"authorization": f"Bearer {token()}"}, b"")
    assert (rotated.failed_check, rotated.secret_index) == (None, 1)


@pytest.mark.parametrize("presented", ["", "x", "a.b", "a.b.c", "a.b.c.d", "..", "é.é.é", "x" * 20_000, "=.=.="])
def test_what_is_no_token_does_not_pass(presented: str) -> None:
    assert failed(presented) == ("signature" if presented else "missing_token")


def test_the_token_s_header_chooses_nothing() -> None:
    head, claims, signature = token().split(".")
    none = encoded(b'{"alg":"none"}')
    assert failed(f"{none}.{claims}.") == "signature"
    assert failed(f"{none}.{claims}.{signature}") == "signature"
    assert failed(token(crit=["b64"], b64=False)) == "signature"
    for named in ("none", "HS512", "hs256", None):  # however it is signed
        assert failed(token(alg=named)) == "signature"
    assert failed(f"{head}.{claims}.") == "signature"
    # The public key as if it were a shared secret.
    content = f"{encoded(b'{}')}.{claims}".replace(encoded(b"{}"), encoded(b'{"alg":"HS256"}'))
    forged = hmac.new(pem(RSA).encode(), content.encode(), hashlib.sha256).digest()
    assert failed(f"{content}.{encoded(forged)}", algorithm="RS256") == "signature"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, None), ({"exp": NOW.timestamp() - 29}, None), ({"exp": NOW.timestamp() - 30}, "timestamp"),
        ({"exp": None}, "timestamp"), ({"exp": "9999999999"}, "timestamp"), ({"exp": True}, "timestamp"),
        ({"exp": 1e300}, "timestamp"), ({"nbf": NOW.timestamp() + 30}, None),
        ({"nbf": NOW.timestamp() + 31}, "timestamp"), ({"iat": NOW.timestamp() + 31}, "timestamp"),
        ({"nbf": "soon"}, "timestamp"), ({"iss": "other"}, "bad_token"), ({"iss": None}, "bad_token"),
        ({"aud": "other"}, "bad_token"), ({"aud": ["other", "signalbox"]}, None), ({"aud": []}, "bad_token"),
        ({"aud": None}, "bad_token"),
    ],
)  # fmt: skip
def test_its_claims_count(claims: dict[str, Any], expected: str | None) -> None:
    given = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    assert failed(token(claims=given), issuer="partner", audience="signalbox") == expected


def test_claims_that_nobody_asked_for_are_not_looked_at_but_the_times_are() -> None:
    assert failed(token(claims={"exp": NOW.timestamp() + 1, "iss": "anybody"})) is None
    assert failed(token(claims={"iss": "anybody"})) == "timestamp"
    assert failed(token(claims=["exp"])) == "timestamp"


def test_a_token_may_stand_in_another_header() -> None:
    asked = auth(header="X-Token")
    for value in (token(), f"Bearer {token()}"):
        assert verdict(asked, [SECRET], {"x-token": value}, b"").failed_check is None
    assert verdict(asked, [SECRET], {"authorization": f"Bearer {token()}"}, b"").failed_check == "missing_token"
