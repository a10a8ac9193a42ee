"""What senders ask when an address is entered, and that only a call that has passed is answered."""

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest

from libs.common.security.webhook_auth.scheme import Verdict
from tests.senders import OTHER_SECRET, SECRET, SENDERS, Sending
from tests.unit.webhook_auth.calls import NOW, URL, call_of, scheme_of

SLACK = {"type": "url_verification", "token": "old", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXA"}
ZOOM = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}, "event_ts": 1}
DISCORD = {"id": "1", "application_id": "2", "type": 1, "version": 1}


def asked(name: str, question: Any, secret: str = SECRET, seconds_ago: int = 0) -> Verdict:
    """The verdict on a question that is signed with a secret."""
    sender, body = SENDERS[name], json.dumps(question).encode()
    headers = sender.sign(Sending(URL, body, NOW - timedelta(seconds=seconds_ago)), secret)
    return scheme_of(sender.auth, *([SECRET] if sender.secret else [])).verify(call_of(headers), body, NOW)


def answered(name: str, question: Any) -> Any:
    challenge = asked(name, question).challenge
    assert challenge is not None
    assert (challenge.status, challenge.content_type) == (200, "application/json")
    return json.loads(challenge.body)


def test_slack_gets_its_challenge_back() -> None:
    assert answered("slack", SLACK) == {"challenge": SLACK["challenge"]}


def test_zoom_gets_its_token_back_signed() -> None:
    token = "qgg8vlvZRS6UYooatFL8Aw"
    signed = hmac.new(SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()
    assert answered("zoom", ZOOM) == {"plainToken": token, "encryptedToken": signed}


def test_discord_s_ping_is_answered() -> None:
    assert answered("discord", DISCORD) == {"type": 1}


def test_discord_s_ping_of_webhook_events_is_answered_by_nothing() -> None:
    challenge = asked("discord", {"version": 1, "application_id": "2", "type": 0}).challenge
    assert challenge is not None
    assert (challenge.status, challenge.body) == (204, b"")


QUESTIONS: list[tuple[str, Any]] = [("slack", SLACK), ("zoom", ZOOM), ("discord", DISCORD)]


@pytest.mark.parametrize(("name", "question"), QUESTIONS)
def test_nobody_else_is_answered(name: str, question: Any) -> None:
    assert asked(name, question, OTHER_SECRET) == Verdict("signature")
    assert asked(name, question, seconds_ago=400) == Verdict("timestamp")


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("slack", {**SLACK, "type": "event_callback"}), ("slack", {**SLACK, "challenge": 5}), ("slack", [SLACK]),
        ("zoom", {**ZOOM, "event": "meeting.started"}), ("zoom", {**ZOOM, "payload": []}),
        ("zoom", {**ZOOM, "payload": {"plainToken": None}}),
        ("discord", {**DISCORD, "type": 2}), ("discord", {**DISCORD, "type": True}), ("discord", 1),
        ("discord", {**DISCORD, "event": {"type": "APPLICATION_AUTHORIZED"}}),
        ("discord", {**DISCORD, "type": False}),
    ],
)  # fmt: skip
def test_what_is_no_question_is_an_ordinary_call(name: str, question: Any) -> None:
    verdict = asked(name, question)
    assert (verdict.failed_check, verdict.challenge) == (None, None)
