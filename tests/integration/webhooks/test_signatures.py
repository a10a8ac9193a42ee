"""Signed calls: every form that a trigger can ask for, made here without the product's own signing."""

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

import httpx

from tests.integration.conftest import World
from tests.integration.webhooks.conftest import BODY, JSON, made_trigger, outcomes

SECRET = "a-secret-that-both-sides-know"
STAMPED = {"timestamp_header": "X-Timestamp"}


def digest(content: bytes, algorithm: str = "sha256", secret: str = SECRET) -> bytes:
    return hmac.new(secret.encode(), content, getattr(hashlib, algorithm)).digest()


async def path_of(world: World, **auth: Any) -> str:
    """The address of a trigger that asks for such signatures."""
    trigger = await made_trigger(world, config={"auth": {"type": "hmac", "secret": SECRET, **auth}})
    return f"/webhooks/{trigger['id']}"


def stamped(when: datetime, away_seconds: int = 0) -> dict[str, str]:
    """Headers of a call signed at another time than `when`."""
    timestamp = str(int(when.timestamp()) + away_seconds)
    return {**JSON, "X-Timestamp": timestamp, "X-Signature-256": digest(timestamp.encode() + b"." + BODY).hex()}


async def statuses(world: World, ingress: httpx.AsyncClient, cases: dict[str, tuple[dict[str, str], str]]) -> Any:
    """What a call gets, for every case of a trigger's auth and a signature."""
    found: dict[str, int] = {}
    for name, (auth, signature) in cases.items():
        headers = {**JSON, auth.get("header", "X-Signature-256"): signature}
        answer = await ingress.post(await path_of(world, **auth), content=BODY, headers=headers)
        found[name] = answer.status_code
    return found


async def test_a_signature_in_the_form_asked_for_opens(acme: World, ingress: httpx.AsyncClient) -> None:
    right = digest(BODY).hex()
    cases: dict[str, tuple[dict[str, str], str]] = {
        "default": ({}, right),
        "upper case": ({}, right.upper()),
        "like GitHub": ({"header": "X-Hub-Signature-256", "prefix": "sha256="}, f"sha256={right}"),
        "sha512": ({"algorithm": "sha512"}, digest(BODY, "sha512").hex()),
        "sha1": ({"algorithm": "sha1", "header": "X-Sig"}, digest(BODY, "sha1").hex()),
        "base64": ({"encoding": "base64"}, base64.b64encode(digest(BODY)).decode()),
        "one of several": ({}, f"{'0' * 64}, {right}"),
    }
    assert await statuses(acme, ingress, cases) == dict.fromkeys(cases, 202)


async def test_any_other_form_does_not(acme: World, ingress: httpx.AsyncClient) -> None:
    right = digest(BODY).hex()
    cases: dict[str, tuple[dict[str, str], str]] = {
        "another algorithm": ({}, digest(BODY, "sha512").hex()),
        "a weaker algorithm": ({}, digest(BODY, "sha1").hex()),
        "another secret": ({}, digest(BODY, secret="another-secret").hex()),
        "the same value written otherwise": ({}, digest(json.dumps(json.loads(BODY)).encode()).hex()),
        "a digit short": ({}, right[:-1]),
        "another encoding": ({}, base64.b64encode(digest(BODY)).decode()),
        "a prefix too many": ({}, f"sha256={right}"),
        "no prefix": ({"prefix": "sha256="}, right),
        "hex for base64": ({"encoding": "base64"}, right),
        "the eleventh of many": ({}, ",".join(["0" * 64] * 10 + [right])),
    }
    assert await statuses(acme, ingress, cases) == dict.fromkeys(cases, 401)
    assert await outcomes(acme) == [("signature", 401, False)] * len(cases)
    assert await acme.count("executions") == 0


async def test_the_signature_counts_before_the_body_is_read(acme: World, ingress: httpx.AsyncClient) -> None:
    path, broken = await path_of(acme), b'{"a": '
    unsigned = await ingress.post(path, content=broken, headers={**JSON, "X-Signature-256": "0" * 64})
    signed = await ingress.post(path, content=broken, headers={**JSON, "X-Signature-256": digest(broken).hex()})
    assert [unsigned.status_code, signed.status_code] == [401, 400]
    assert await outcomes(acme) == [("signature", 401, False), ("body", 400, False)]


async def test_a_signed_timestamp_must_be_near_now(acme: World, ingress: httpx.AsyncClient) -> None:
    path, now = await path_of(acme, **STAMPED), acme.clock.now()
    expected = {-280: 202, 0: 202, 280: 202, -320: 401, 320: 401, -86_400 * 365: 401}
    answers = {away: await ingress.post(path, content=BODY, headers=stamped(now, away)) for away in expected}
    assert {away: answer.status_code for away, answer in answers.items()} == expected
    assert (await outcomes(acme))[3:] == [("timestamp", 401, False)] * 3


async def test_a_call_that_was_good_once_expires(acme: World, ingress: httpx.AsyncClient) -> None:
    path, headers = await path_of(acme, **STAMPED, tolerance_seconds=60), stamped(acme.clock.now())
    assert (await ingress.post(path, content=BODY, headers=headers)).status_code == 202
    acme.clock.move(62)
    assert (await ingress.post(path, content=BODY, headers=headers)).status_code == 401


async def test_a_timestamp_that_is_none_is_refused(acme: World, ingress: httpx.AsyncClient) -> None:
    path, headers = await path_of(acme, **STAMPED), stamped(acme.clock.now())
    del headers["X-Timestamp"]
    given = [{}, *({"X-Timestamp": text} for text in ("", "soon", "1e9", "-5", "9" * 13))]
    answers = [await ingress.post(path, content=BODY, headers=headers | one) for one in given]
    assert [answer.status_code for answer in answers] == [401] * len(given)
    assert await outcomes(acme) == [("timestamp", 401, False)] * len(given)


async def test_a_fresh_timestamp_does_not_renew_an_old_signature(acme: World, ingress: httpx.AsyncClient) -> None:
    headers = {**stamped(acme.clock.now(), -600), "X-Timestamp": stamped(acme.clock.now())["X-Timestamp"]}
    answer = await ingress.post(await path_of(acme, **STAMPED), content=BODY, headers=headers)
    assert answer.status_code == 401
    assert await outcomes(acme) == [("signature", 401, False)]


async def test_what_is_signed_follows_the_template(acme: World, ingress: httpx.AsyncClient) -> None:
    path = await path_of(acme, **STAMPED, signed_content="v0:{timestamp}:{body}", prefix="v0=")
    timestamp = str(int(acme.clock.now().timestamp()))
    good = digest(b"v0:" + timestamp.encode() + b":" + BODY).hex()
    headers = {**JSON, "X-Timestamp": timestamp, "X-Signature-256": f"v0={good}"}
    assert (await ingress.post(path, content=BODY, headers=headers)).status_code == 202
    assert (await ingress.post(path, content=BODY + b" ", headers=headers)).status_code == 401
