"""What senders of webhooks do, written from their documents and without the product's own signing: the headers of a
call as each vendor makes them.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

JSON_TYPE, FORM_TYPE = "application/json", "application/x-www-form-urlencoded"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
OTHER_SECRET = "whsec_AAKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


class Sending(NamedTuple):
    """One call that is to be signed: the address as the sender knows it, the body, when."""

    url: str
    body: bytes
    when: datetime
    id: str = "msg_1"
    method: str = "POST"

    @property
    def seconds(self) -> str:
        return str(int(self.when.timestamp()))

    @property
    def milliseconds(self) -> str:
        return str(int(self.when.timestamp() * 1000))


Sign = Callable[[Sending, str], dict[str, str]]
"""The headers of a call signed with a secret (or with the key that goes by that text)."""


class Sender(NamedTuple):
    """A vendor: the `auth` of a trigger for it, how it signs, a body of its own."""

    auth: Mapping[str, Any]
    sign: Sign
    body: Callable[[datetime], bytes]
    timed: bool
    secret: str | None = SECRET
    content_type: str = JSON_TYPE

    def auth_with(self, secret: str | None) -> dict[str, Any]:
        """The `auth` with its secret."""
        return {**self.auth, **({} if secret is None else {"secret": secret})}


def mac(secret: str | bytes, content: bytes, algorithm: str = "sha256") -> bytes:
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.new(key, content, getattr(hashlib, algorithm)).digest()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def github(call: Sending, secret: str) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + mac(secret, call.body).hex(), "x-github-delivery": call.id}


def stripe(call: Sending, secret: str) -> dict[str, str]:
    digest = mac(secret, call.seconds.encode() + b"." + call.body).hex()
    return {"stripe-signature": f"t={call.seconds},v1={digest},v0={'0' * 64}"}


def slack(call: Sending, secret: str) -> dict[str, str]:
    digest = mac(secret, b"v0:" + call.seconds.encode() + b":" + call.body).hex()
    return {"x-slack-signature": f"v0={digest}", "x-slack-request-timestamp": call.seconds}


def zoom(call: Sending, secret: str) -> dict[str, str]:
    digest = mac(secret, b"v0:" + call.seconds.encode() + b":" + call.body).hex()
    return {"x-zm-signature": f"v0={digest}", "x-zm-request-timestamp": call.seconds}


def shopify(call: Sending, secret: str) -> dict[str, str]:
    return {"x-shopify-hmac-sha256": b64(mac(secret, call.body)), "x-shopify-webhook-id": call.id}


def linear(call: Sending, secret: str) -> dict[str, str]:
    return {"linear-signature": mac(secret, call.body).hex(), "linear-delivery": call.id}


def gitlab(call: Sending, secret: str) -> dict[str, str]:
    return {"x-gitlab-token": secret, "idempotency-key": call.id}


def standard(call: Sending, secret: str) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = mac(key, f"{call.id}.{call.seconds}.".encode() + call.body)
    return {
        "webhook-id": call.id, "webhook-timestamp": call.seconds,
        "webhook-signature": f"v1,{b64(bytes(32))} v1,{b64(digest)}",
    }  # fmt: skip


def standard_by_key(call: Sending, secret: str) -> dict[str, str]:
    signature = private_key(secret).sign(f"{call.id}.{call.seconds}.".encode() + call.body)
    return {"webhook-id": call.id, "webhook-timestamp": call.seconds, "webhook-signature": f"v1a,{b64(signature)}"}


def discord(call: Sending, secret: str) -> dict[str, str]:
    signature = private_key(secret).sign(call.seconds.encode() + call.body)
    return {"x-signature-ed25519": signature.hex(), "x-signature-timestamp": call.seconds}


def twilio(call: Sending, secret: str) -> dict[str, str]:
    pairs = sorted(set(parse_qsl(call.body.decode(), keep_blank_values=True)))
    content = call.url + "".join(name + value for name, value in pairs)
    return {"x-twilio-signature": b64(mac(secret, content.encode(), "sha1")), "i-twilio-idempotency-token": call.id}


def hubspot(call: Sending, secret: str) -> dict[str, str]:
    content = (call.method + call.url).encode() + call.body + call.milliseconds.encode()
    return {"x-hubspot-signature-v3": b64(mac(secret, content)), "x-hubspot-request-timestamp": call.milliseconds}


def private_key(secret: str) -> Ed25519PrivateKey:
    """A key pair has no shared secret: the texts stand for the one key and the other."""
    return KEY if secret == SECRET else OTHER_KEY


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _event(_: datetime) -> bytes:
    return b'{"id": "evt_1", "amount": 7, "note": "caf\xc3\xa9"}'


def _linear_event(when: datetime) -> bytes:
    return json.dumps({"action": "create", "webhookTimestamp": int(when.timestamp() * 1000)}).encode()


def _form(_: datetime) -> bytes:
    return b"CallSid=CA1234567890ABCDE&Digits=1234&From=14158675309&Empty="


SENDERS: Mapping[str, Sender] = {
    "github": Sender({"type": "github"}, github, _event, timed=False),
    "stripe": Sender({"type": "stripe"}, stripe, _event, timed=True),
    "slack": Sender({"type": "slack"}, slack, _event, timed=True),
    "shopify": Sender({"type": "shopify"}, shopify, _event, timed=False),
    "gitlab": Sender({"type": "gitlab"}, gitlab, _event, timed=False),
    "gitlab signed": Sender({"type": "gitlab", "signed": True}, standard, _event, timed=True),
    "twilio": Sender({"type": "twilio"}, twilio, _form, timed=False, content_type=FORM_TYPE),
    "discord": Sender({"type": "discord", "public_key": public_bytes(KEY).hex()}, discord, _event, True, None),
    "linear": Sender({"type": "linear"}, linear, _linear_event, timed=True),
    "zoom": Sender({"type": "zoom"}, zoom, _event, timed=True),
    "hubspot": Sender({"type": "hubspot"}, hubspot, _event, timed=True),
    "standard_webhooks": Sender({"type": "standard_webhooks"}, standard, _event, timed=True),
    "standard_webhooks v1a": Sender(
        {"type": "standard_webhooks", "public_key": "whpk_" + b64(public_bytes(KEY))}, standard_by_key, _event, True,
        None,
    ),
}  # fmt: skip
"""Every preset."""
