"""What happens to a webhook call: find the trigger, judge the call, commit it, answer.

    find 404 ─ enabled 404 ─ method 405 ─ size 413 ─ credential 401 ─ body 400 ─ conditions ─┬─ hold: execution, 202
                                                                                             └─ not: no execution, 202

Every call to a trigger that exists is committed with what became of it before it is answered; an accepted one in the
same commit as its execution. The body is checked against its signature as the bytes that came, and parsed only
afterwards.
"""

from time import perf_counter
from typing import Any, NoReturn
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
import structlog

from libs.common.accept import Acceptor, NewExecution
from libs.common.clock import Clock, new_id, random_token
from libs.common.db.accepting import CallRow
from libs.common.domain.scope import build_scope
from libs.common.domain.template_error import TemplateError
from libs.common.domain.trigger import ApiKeyAuth
from libs.common.errors import (
    MalformedInput,
    MethodNotAllowed,
    NotFound,
    SignalboxError,
    Unauthenticated,
)
from libs.common.json_input import decode_json
from libs.common.problems import STATUSES
from libs.common.security.redaction import redact_headers, redact_query
from libs.common.telemetry import metrics
from libs.common.telemetry.tracing import format_traceparent, new_trace, parse_traceparent
from services.webhooks.call import Call, Receive, read_body
from services.webhooks.checks import failed_check
from services.webhooks.triggers import TriggerCache, WebhookTrigger

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """What a call that was not refused gets. `execution_id` is None when the trigger's conditions did not hold."""

    success: bool
    execution_id: UUID | None
    message: str


class Refused(msgspec.Struct, frozen=True):
    """Why a call was refused: the name of the check, and the error that the caller gets."""

    check: str
    error: SignalboxError


class Payload(msgspec.Struct, frozen=True):
    """A body as a value, and the same as JSON text."""

    value: Any
    json: bytes


class Ingress:
    """Judges calls and commits them."""

    def __init__(self, triggers: TriggerCache, acceptor: Acceptor, clock: Clock, max_body_bytes: int) -> None:
        self._triggers, self._acceptor, self._clock, self._max_body_bytes = triggers, acceptor, clock, max_body_bytes

    async def handle(self, call: Call, trigger_id: str, path_token: str | None, receive: Receive) -> Answer:
        """Commit the call and say what became of it. Raises the error that a refused call gets, after committing it."""
        started = perf_counter()
        trigger = await self._find(trigger_id)
        judged = await self._judge(trigger, call, path_token, receive)
        kept = _without_credentials(trigger, call)
        if isinstance(judged, Refused):
            await self._refuse(trigger, kept, judged, started)
        body, payload = judged
        return await self._commit(trigger, kept, body, payload, started)

    async def _find(self, trigger_id: str) -> WebhookTrigger:
        try:
            identifier = UUID(trigger_id)
        except ValueError:
            _unknown()
        trigger = await self._triggers.find(identifier)
        if trigger is None:
            _unknown()
        return trigger

    async def _judge(
        self, trigger: WebhookTrigger, call: Call, path_token: str | None, receive: Receive
    ) -> "tuple[bytes, Payload] | Refused":
        """The body and its value, or why the call is refused. The order of the checks is part of the contract."""
        if not trigger.row.runnable:
            return Refused("disabled", NotFound("There is no such webhook."))
        if call.method not in trigger.config.methods:
            return Refused("method", MethodNotAllowed(trigger.config.methods))
        try:
            body = await read_body(call, receive, min(trigger.config.max_bytes, self._max_body_bytes))
        except SignalboxError as error:
            return Refused(error.slug, error)
        check = failed_check(trigger.config, trigger.credentials, call, path_token, body, self._clock.now())
        if check is not None:
            return Refused(check, Unauthenticated("The call is not authenticated."))
        try:
            return body, _payload(call, body)
        except MalformedInput as error:
            return Refused("body", error)

    async def _refuse(self, trigger: WebhookTrigger, call: Call, refused: Refused, started: float) -> NoReturn:
        metrics.count_webhook_call(refused.check)
        _log.info("call refused", check=refused.check, tenant_id=trigger.row.tenant_id, trigger_id=trigger.row.id)
        status, _ = STATUSES[refused.error.slug]
        headers = _encode(call.headers)
        await self._acceptor.log_call(_call_row(trigger, call, refused.check, status, headers, None, started))
        raise refused.error

    async def _commit(
        self, trigger: WebhookTrigger, call: Call, body: bytes, payload: Payload, started: float
    ) -> Answer:
        query = dict(parse_qsl(call.query, keep_blank_values=True))
        # The address as it is without a token: what templates see is stored, shown and sent on.
        url = f"/webhooks/{trigger.row.id}"
        webhook = {"method": call.method, "url": url, "query": query, "headers": call.headers, "body": payload.value}
        headers_json = _encode(call.headers)
        failed = _failed_condition(trigger, webhook)
        if failed is not None:
            metrics.count_webhook_call(failed)
            await self._acceptor.log_call(_call_row(trigger, call, failed, 202, headers_json, body, started))
            return Answer(True, None, "The conditions of the trigger do not hold; nothing was started.")
        webhook |= {"headers": msgspec.Raw(headers_json), "body": msgspec.Raw(payload.json)}
        row = trigger.row
        new = NewExecution(
            row.tenant_id, row.workflow_id, row.version, row.id, row.key, "webhook", _encode(webhook),
            traceparent=_traceparent(call),
        )  # fmt: skip
        await self._acceptor.accept(new, _call_row(trigger, call, "accepted", 202, headers_json, body, started, new.id))
        metrics.count_webhook_call("accepted")
        _log.debug(
            "call accepted", tenant_id=row.tenant_id, trigger_id=row.id, execution_id=new.id,
            trace_id=new.traceparent[3:35],
        )  # fmt: skip
        return Answer(True, new.id, "The workflow has been started.")


def _without_credentials(trigger: WebhookTrigger, call: Call) -> Call:
    """The call as it may be kept, shown and given to the workflow."""
    auth = trigger.config.auth
    credential = auth.header.lower() if isinstance(auth, ApiKeyAuth) else ""
    return msgspec.structs.replace(
        call, query=redact_query(call.query), headers=redact_headers(call.headers, credential)
    )


def _failed_condition(trigger: WebhookTrigger, webhook: dict[str, Any]) -> str | None:
    """The outcome of a call that starts nothing, or None. A condition that this call lets nobody evaluate (a template
    names what it does not bring) does not hold, and is told apart in the log.
    """
    if trigger.conditions is None:
        return None
    try:
        return None if trigger.conditions.matches(_scope(trigger, webhook)) else "no_match"
    except TemplateError as error:
        row = trigger.row
        _log.info("condition failed", tenant_id=row.tenant_id, trigger_id=row.id, expression=error.expression[:200])
        return "condition_error"


def _unknown() -> NoReturn:
    metrics.count_webhook_call("unknown")
    raise NotFound("There is no such webhook.")


def _payload(call: Call, body: bytes) -> Payload:
    """The body as a value: JSON by its type or by default, forms as an object, any other text as a string."""
    media_type = call.header("content-type").partition(";")[0].strip().lower()
    if not body:
        return Payload(None, b"null")
    if media_type == "application/x-www-form-urlencoded":
        form = dict(parse_qsl(_text(body), keep_blank_values=True))
        return Payload(form, _encode(form))
    if media_type.startswith("text/") or media_type.endswith(("/xml", "+xml")):
        text = _text(body)
        return Payload(text, _encode(text))
    return Payload(decode_json(body), body)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise MalformedInput("The body is not UTF-8.") from None


def _scope(trigger: WebhookTrigger, webhook: dict[str, Any]) -> dict[str, Any]:
    row = trigger.row
    return build_scope(
        {"id": str(row.id), "type": "webhook", "key": row.key},
        webhook,
        {},
        {"id": str(row.workflow_id), "name": row.workflow_name, "version": row.version},
        {"id": str(row.tenant_id), "slug": row.tenant_slug},
    )


def _traceparent(call: Call) -> str:
    given = call.header("traceparent")
    trace = parse_traceparent(given) if given else None
    return format_traceparent(trace or new_trace(random_token(24)))


def _call_row(
    trigger: WebhookTrigger, call: Call, outcome: str, status: int, headers: bytes, body: bytes | None,
    started: float, execution_id: UUID | None = None,
) -> CallRow:  # fmt: skip
    return CallRow(
        tenant_id=trigger.row.tenant_id,
        id=new_id(),
        trigger_id=trigger.row.id,
        execution_id=execution_id,
        outcome=outcome,
        status=status,
        method=call.method,
        query=call.query,
        headers=headers.decode(),
        body=body,
        ip=call.ip,
        user_agent=call.header("user-agent")[:400],
        microseconds=int((perf_counter() - started) * 1_000_000),
    )
