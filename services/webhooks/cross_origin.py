"""Calls from pages in browsers (CORS): what a browser is told before it lets a page call, or see an answer. A trigger
that names no origins says nothing: pages are none of its callers. `*` is for any.
"""

from libs.common.domain.trigger import WebhookConfig
from services.webhooks.address import is_origin_allowed
from services.webhooks.answers import Reply
from services.webhooks.call import Call

_REMEMBER_SECONDS = 600


def options(config: WebhookConfig, call: Call) -> Reply:
    """The answer to OPTIONS, which starts nothing: the methods, and for an allowed origin that its pages may call."""
    methods = ", ".join((*config.methods, "OPTIONS"))
    headers = {"allow": methods, **seen_by_pages(config, call)}
    if "access-control-allow-origin" in headers and call.header("access-control-request-method"):
        headers["access-control-allow-methods"] = methods
        headers["access-control-max-age"] = str(_REMEMBER_SECONDS)
        if asked := call.header("access-control-request-headers"):
            headers["access-control-allow-headers"] = asked
            headers["vary"] = "Origin, Access-Control-Request-Headers"
    return Reply(204, headers, b"")


def seen_by_pages(config: WebhookConfig, call: Call) -> dict[str, str]:
    """The headers that let a page see the answer; none for callers that are no browser, or of another origin."""
    origin = call.header("origin")
    if not origin or not config.origins or not is_origin_allowed(origin, config.origins):
        return {}
    if "*" in config.origins:
        return {"access-control-allow-origin": "*", "access-control-expose-headers": "Location"}
    return {
        "access-control-allow-origin": origin, "access-control-expose-headers": "Location", "vary": "Origin",
    }  # fmt: skip
