"""What to do with the address of a webhook, in one sentence or two for every type of authentication."""

from collections.abc import Mapping
from typing import Any

_BY_TYPE: Mapping[str, str] = {
    "none": "Anybody who knows the address may call it.",
    "bearer": "Send the token as `Authorization: Bearer <token>`.",
    "basic": "Send user name and password by HTTP Basic.",
    "hmac": "Sign the raw body with the secret and send the signature in {header}.",
    "ed25519": "Sign the raw body with the private key and send the signature in {header}.",
    "jwt": "Send a token signed with {algorithm}, with an `exp`, in {header}.",
    "mtls": "Call with a client certificate; the proxy in front passes it on in {header}.",
    "github": "In the repository: Settings, Webhooks, Add webhook. Paste the address as Payload URL, the secret as "
    "Secret, and choose application/json.",
    "stripe": "In Stripe: Workbench, Webhooks, Add destination. Paste the address as Endpoint URL; then set the "
    "signing secret (whsec_…) that Stripe shows here by rotate-secret.",
    "slack": "In the Slack app: Basic Information, Signing Secret: set it here by rotate-secret. Then Event "
    "Subscriptions: paste the address as Request URL; it is verified at once.",
    "shopify": "In Shopify: Settings, Notifications, Webhooks. Paste the address; then set the key that Shopify signs "
    "with here by rotate-secret.",
    "gitlab": "In the project: Settings, Webhooks. Paste the address as URL and the secret as Secret token.",
    "gitlab signed": "In the project: Settings, Webhooks. Paste the address as URL and the secret as Signing token.",
    "twilio": "In Twilio: paste the address where the number or service asks for a webhook (HTTP POST); set the auth "
    "token of the account here by rotate-secret.",
    "discord": "In the Discord application: General Information. Set its Public Key here as public_key; then paste the "
    "address as Interactions Endpoint URL; it is tested at once.",
    "linear": "In Linear: Settings, API, Webhooks, New webhook. Paste the address; then set the signing secret that "
    "Linear shows here by rotate-secret.",
    "zoom": "In the Zoom app: Features, Access. Set the Secret Token here by rotate-secret; then paste the address as "
    "Event notification endpoint URL and validate it.",
    "hubspot": "In the HubSpot app: Auth. Set the Client secret here by rotate-secret; then paste the address under "
    "Webhooks as Target URL.",
    "standard_webhooks": "Give the sender the address and the secret; it signs after Standard Webhooks "
    "(webhook-id, webhook-timestamp, webhook-signature).",
}
_DEFAULT = "The token in the address, or in X-Webhook-Token, says who calls."


def instructions(config: Mapping[str, Any]) -> str:
    """How to call a webhook with this config."""
    methods = " or ".join(config.get("methods") or ["POST"])
    auth: Mapping[str, Any] = config.get("auth") or {}
    return f"Send an HTTP {methods} to the address with the payload as JSON; {_answer(config)}. {_credential(auth)}"


def _answer(config: Mapping[str, Any]) -> str:
    response: Mapping[str, Any] = config.get("response") or {}
    if response.get("mode") == "sync":
        return "it is answered by the workflow's respond, or its output"
    if response.keys() & {"status", "headers", "body"}:
        return "it is answered at once, as the trigger says"
    return "it is answered 202 with the execution's id"


def _credential(auth: Mapping[str, Any]) -> str:
    kind = str(auth.get("type", ""))
    if kind == "api_key":
        place = (
            f"the parameter {auth['query']}" if auth.get("query") else f"the header {auth.get('header', 'X-API-Key')}"
        )
        return f"Send the token in {place}."
    if kind == "gitlab" and auth.get("signed"):
        kind = "gitlab signed"
    defaults = {"hmac": "X-Signature-256", "ed25519": "X-Signature-Ed25519", "mtls": "Client-Cert"}
    header = auth.get("header") or defaults.get(kind, "Authorization")
    return _BY_TYPE.get(kind, _DEFAULT).format(header=header, algorithm=auth.get("algorithm", "HS256"))
