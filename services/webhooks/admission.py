"""The checks that need no credential: method, address, origin, then (with the body read) size, type and rate.

Each answers None, or a `Refused` with the name of the check that stands in the log and the error that the caller gets.
"""

from math import ceil

import msgspec

from libs.common.errors import (
    Forbidden,
    LimitShown,
    MethodNotAllowed,
    NotFound,
    QuotaExceeded,
    RateLimited,
    SignalboxError,
    TenantSuspended,
    TooLarge,
    UnsupportedType,
)
from libs.common.limits.limiter import Limiter, check_room
from libs.common.webhook_payloads import check_readable, media_type
from services.webhooks.address import is_from, is_origin_allowed, networks_of
from services.webhooks.call import Call, Receive, read_body
from services.webhooks.triggers import WebhookTrigger


class Refused(msgspec.Struct, frozen=True):
    """Why a call was refused: the name of the check, the error that the caller gets, and the body if it was read."""

    check: str
    error: SignalboxError
    body: bytes | None = None


def refused_by_head(trigger: WebhookTrigger, call: Call) -> Refused | None:
    """Whether the trigger is on and takes such a call from there."""
    config = trigger.config
    if not trigger.row.runnable:
        return Refused("disabled", NotFound("There is no such webhook."))
    if trigger.row.suspended:
        return Refused("suspended", TenantSuspended("The tenant of this webhook is suspended."))
    if call.method not in config.methods:
        return Refused("method", MethodNotAllowed(config.methods))
    if config.networks and not is_from(call.ip, networks_of(config.networks)):
        return Refused("address", Forbidden("Calls from this address are not taken."))
    if config.origins and not is_origin_allowed(call.header("origin"), config.origins):
        return Refused("origin", Forbidden("Calls from pages of this origin are not taken."))
    return None


async def read_whole(trigger: WebhookTrigger, call: Call, receive: Receive, most_bytes: int) -> bytes | Refused:
    """The body, if it is not too large and comes to its end."""
    ours, theirs = min(trigger.config.max_bytes, most_bytes), trigger.limits.payload_bytes
    try:
        return await read_body(call, receive, ours if theirs is None else min(ours, theirs))
    except TooLarge as error:
        if theirs is None or theirs >= ours:
            return Refused("size", error)
        return Refused("size", TooLarge(theirs, LimitShown("payload_bytes", theirs)))
    except SignalboxError as error:
        return Refused("body", error)


def refused_by_type(trigger: WebhookTrigger, call: Call, body: bytes) -> Refused | None:
    """Whether a body of this content type is taken; a call without a body has none."""
    if not body:
        return None
    allowed, kind = trigger.config.content_types, call.header("content-type")
    try:
        check_readable(kind, call.header("content-encoding"))
    except UnsupportedType as error:
        return Refused("type", error, body)
    if allowed and media_type(kind) not in allowed and f"{media_type(kind).partition('/')[0]}/*" not in allowed:
        return Refused("type", UnsupportedType(f"This address takes {', '.join(allowed)} only."), body)
    return None


async def refused_by_rate(trigger: WebhookTrigger, limiter: Limiter, body: bytes) -> Refused | None:
    """Whether the trigger or its tenant has had its number of calls. Costs one without a rate nothing."""
    row, rate = trigger.row, trigger.rate
    if rate is not None:
        wait = await limiter.shared.take(f"{row.tenant_id}:{row.id}", rate.calls, rate.seconds)
        if wait > 0:
            error = RateLimited("This address takes no more calls at present.", max(1, ceil(wait)))
            return Refused("rate", error, body)
    if trigger.limits.webhook_rate is None:
        return None
    try:
        await limiter.rates.take(row.tenant_id, trigger.limits, "webhook_rate")
    except RateLimited as error:
        return Refused("rate", error, body)
    return None


async def refused_by_room(trigger: WebhookTrigger, limiter: Limiter, body: bytes) -> Refused | None:
    """Whether the tenant has as much in flight, or stored, as it may. Costs one without these limits nothing."""
    row, limits = trigger.row, trigger.limits
    if limits.stored_bytes is None and limits.executions_in_flight is None:
        return None
    try:
        check_room(limits, row.stored_bytes)
        await limiter.in_flight.admit(row.tenant_id, limits)
    except (RateLimited, QuotaExceeded) as error:
        return Refused("limit", error, body)
    return None
