"""What happens to a webhook call: find the trigger, check the call, commit it, answer.

    exists 404 ─ enabled 404 ─ suspended 403 ─ method 405 ─ address 403 ─ origin 403 ─ size 413 ─ type 415 ─ rate 429
    ─ credential 401 ─ duplicate (the first answer again) ─ body 400 ─ schema 422 ─ conditions 202 ─ limit 402, 429
    ─▶ execution, 202

Every call to a trigger that exists is on record with what became of it before it is answered (of a flood of refused
ones a sample, see `refusals`); an accepted one in the same commit as its execution. The body is checked against its
signature as the bytes that came, and parsed only afterwards. What a trigger does not use costs its calls nothing.
"""

import asyncio
from time import perf_counter
from typing import Any, NoReturn
from uuid import UUID

import msgspec
import structlog

from libs.common.accept import Arrival, NewExecution
from libs.common.clock import Clock, new_id
from libs.common.db.accepting import CallRow
from libs.common.db.execution_ends import Ended
from libs.common.db.webhook_calls import CallAnswer
from libs.common.domain.events import NewEvent
from libs.common.errors import NotFound, SignalboxError, TooLarge, Unauthenticated
from libs.common.limits.limiter import Limiter
from libs.common.problems import STATUSES
from libs.common.security.webhook_auth.scheme import Challenge
from libs.common.telemetry import metrics
from libs.common.telemetry.spans import place_of_request
from libs.common.webhook_payloads import NOTHING, Payload, read_payload
from libs.common.webhook_rules import ACCEPTED, Judged, call_data, event_data, input_json, judge, scope_of
from services.webhooks import answers
from services.webhooks.address import is_called
from services.webhooks.admission import (
    Refused,
    read_whole,
    refused_by_head,
    refused_by_rate,
    refused_by_room,
    refused_by_type,
)
from services.webhooks.answers import Reply
from services.webhooks.call import Call, Receive
from services.webhooks.checks import authenticate, without_credentials
from services.webhooks.cross_origin import options, seen_by_pages
from services.webhooks.delivery_ids import delivery_of
from services.webhooks.door import Door
from services.webhooks.endings import Endings
from services.webhooks.refusals import BODY_BYTES, Refusals
from services.webhooks.triggers import TriggerCache, WebhookTrigger

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Visit(msgspec.Struct, frozen=True):
    """A call at its trigger. `kept`: the call as it may be kept, shown and given to the workflow: no credentials.
    `started`: by the clock that measures durations.
    """

    trigger: WebhookTrigger
    call: Call
    kept: Call
    started: float
    request_id: str

    def count(self, outcome: str) -> None:
        """It is answered so."""
        metrics.count_webhook_call(outcome, self.trigger.row.tenant_id)

    def row(self, outcome: str, status: int, body: bytes | None, **more: Any) -> CallRow:
        """As it is logged."""
        row, kept = self.trigger.row, self.kept
        return CallRow(
            row.tenant_id, new_id(), row.id, more.pop("execution_id", None), outcome, status, kept.method, kept.query,
            (more.pop("headers", None) or _encode(kept.headers)).decode(), body, kept.ip,
            kept.header("user-agent")[:400], int((perf_counter() - self.started) * 1_000_000), version=row.version,
            **more,
        )  # fmt: skip


class Ingress:
    """Judges calls and commits them."""

    def __init__(
        self, triggers: TriggerCache, door: Door, clock: Clock, limiter: Limiter, endings: Endings,
        max_body_bytes: int,
    ) -> None:  # fmt: skip
        self._triggers, self._door, self._clock, self._limiter = triggers, door, clock, limiter
        self._endings, self._max_body_bytes = endings, max_body_bytes
        self.refusals = Refusals()

    async def handle(
        self, call: Call, trigger_id: str, path_token: str | None, receive: Receive, request_id: str = ""
    ) -> Reply:
        """Commit the call and say what became of it. Raises the error that a refused call gets, after logging it."""
        started = perf_counter()
        trigger = await self._find(trigger_id)
        visit = Visit(trigger, call, without_credentials(trigger.config, call), started, request_id)
        if call.method == "OPTIONS" and trigger.row.runnable and not trigger.row.suspended:
            visit.count("preflight")
            await self._door.log_call(visit.row("preflight", 204, None))
            return options(trigger.config, call)
        body = await self._check(visit, path_token, receive)
        if isinstance(body, Refused):
            await self._refuse(visit, body)
        reply = await (self._challenged(visit, body) if isinstance(body, Challenge) else self._take(visit, body))
        return reply.with_headers(seen_by_pages(trigger.config, call))

    async def _find(self, trigger_id: str) -> WebhookTrigger:
        try:
            place = UUID(trigger_id)
        except ValueError:
            place = trigger_id if is_called(trigger_id) else _unknown()
        trigger = await self._triggers.find(place)
        if trigger is None:
            _unknown()
        return trigger

    async def _check(self, visit: Visit, path_token: str | None, receive: Receive) -> bytes | Refused | Challenge:
        """The body of a call that may come in, why it is refused, or what to answer at once. The order of checks is
        part of the contract.
        """
        trigger, call = visit.trigger, visit.call
        if (refused := refused_by_head(trigger, call)) is not None:
            return refused
        body = await read_whole(trigger, call, receive, self._max_body_bytes)
        if isinstance(body, Refused):
            return body
        refused = refused_by_type(trigger, call, body) or await refused_by_rate(trigger, self._limiter, body)
        if refused is not None:
            return refused
        verdict = authenticate(trigger.config, trigger.credentials, call, path_token, body, self._clock.now())
        if verdict.failed_check is not None:
            return Refused(verdict.failed_check, Unauthenticated("The call is not authenticated."), body)
        return body if verdict.challenge is None else verdict.challenge

    async def _challenged(self, visit: Visit, challenge: Challenge) -> Reply:
        """The sender tries the address: that is on record, and nothing is started. What it sent is a credential of
        sorts and is not kept.
        """
        visit.count("challenge")
        await self._door.log_call(visit.row("challenge", challenge.status, None))
        return Reply(challenge.status, {"content-type": challenge.content_type}, challenge.body)

    async def _take(self, visit: Visit, body: bytes) -> Reply:
        """Read the call, and start what it starts."""
        trigger, kept, now = visit.trigger, visit.kept, self._clock.now()
        payload = self._payload(visit, body)
        value = None if isinstance(payload, Refused) else payload.value
        data = call_data(kept.method, trigger.row.id, kept.query, kept.headers, value)
        delivery = delivery_of(trigger, visit.call, data, now)
        if isinstance(payload, Refused):
            return await self._stopped(visit, payload, delivery)
        judged = judge(trigger.rules, trigger.facts, data, now)
        if judged.error is not None:
            return await self._stopped(visit, Refused(judged.outcome, judged.error, body), delivery)
        if judged.outcome != ACCEPTED:
            return await self._no_match(visit, judged.outcome, body, delivery)
        refused = await refused_by_room(trigger, self._limiter, body)
        if refused is not None:
            return await self._stopped(visit, refused, delivery)
        return await self._commit(visit, body, payload, judged, delivery)

    def _payload(self, visit: Visit, body: bytes) -> Payload | Refused:
        if not body:
            return NOTHING
        call = visit.call
        try:
            return read_payload(
                call.header("content-type"), call.header("content-encoding"), body, self._max_body_bytes
            )  # fmt: skip
        except SignalboxError as error:
            return Refused("size" if isinstance(error, TooLarge) else "body", error, body)

    async def _stopped(self, visit: Visit, refused: Refused, delivery: bytes | None) -> Reply:
        """Refuse the call, unless it came before and was accepted then: a sender may change what it sends again."""
        return await self._known(visit, refused.body, delivery) or await self._refuse(visit, refused)

    async def _no_match(self, visit: Visit, outcome: str, body: bytes, delivery: bytes | None) -> Reply:
        known = await self._known(visit, body, delivery)
        if known is not None:
            return known
        visit.count(outcome)
        await self._door.log_call(visit.row(outcome, 202, body, body_bytes=len(body)))
        return answers.nothing_started()

    async def _known(self, visit: Visit, body: bytes | None, delivery: bytes | None) -> Reply | None:
        """The first answer again, if a call of this name has started something."""
        row = visit.trigger.row
        if delivery is None:
            return None
        execution_id = await self._door.find_delivery(row.tenant_id, row.id, delivery)
        if execution_id is None:
            return None
        await self._door.log_call(visit.row("duplicate", 202, body, execution_id=execution_id))
        return self._as_before(visit, execution_id)

    def _as_before(self, visit: Visit, execution_id: UUID) -> Reply:
        visit.count("duplicate")
        return answers.accepted(execution_id).with_headers({"idempotent-replayed": "true"})

    async def _refuse(self, visit: Visit, refused: Refused) -> NoReturn:
        row = visit.trigger.row
        visit.count(refused.check)
        _log.info("call refused", check=refused.check, tenant_id=row.tenant_id, trigger_id=row.id)
        status, _ = STATUSES[refused.error.slug]
        body = None if refused.body is None else refused.body[:BODY_BYTES]
        size = None if refused.body is None else len(refused.body)
        logged = self.refusals.sample(
            visit.row(refused.check, status, body, detail=refused.error.detail[:1_000], body_bytes=size)
        )
        if logged is not None:
            await self._door.log_call(logged)
        raise refused.error

    async def _commit(
        self, visit: Visit, body: bytes, payload: Payload, judged: Judged, delivery: bytes | None
    ) -> Reply:
        row, headers = visit.trigger.row, _encode(visit.kept.headers)
        new = NewExecution(
            row.tenant_id, row.workflow_id, row.version, row.id, row.key, "webhook",
            input_json(judged.data, headers, payload),
            traceparent=place_of_request(visit.call.header("traceparent")),
        )  # fmt: skip
        said = self._custom(visit, judged, new.id)
        logged = visit.row(
            ACCEPTED, 202 if said is None else said.status, body, execution_id=new.id, headers=headers,
            body_bytes=len(body), answer=None if said is None else said.logged(),
        )  # fmt: skip
        arrival = Arrival(new, logged, delivery, _event(judged, new))
        if visit.trigger.config.response.mode == "sync":
            return await self._commit_and_wait(visit, arrival)
        held, _ = await self._door.accept(arrival)
        if held != new.id:
            return self._again(visit, judged, held)
        _accepted(new)
        return said or answers.accepted(new.id)

    async def _commit_and_wait(self, visit: Visit, arrival: Arrival) -> Reply:
        """What the workflow says, if it ends in time. A call that came before waits for the end of the first."""
        new = arrival.execution
        with self._endings.expecting(new.tenant_id, new.id) as ending:
            held, spooled = await self._door.accept(arrival)
            if spooled:
                return answers.accepted(new.id)  # it runs when PostgreSQL is back: nobody can wait for that
            if held == new.id:
                _accepted(new)
                reply = await self._said(visit, new.id, ending)
            else:
                visit.count("duplicate")
                with self._endings.expecting(new.tenant_id, held) as ending:
                    reply = (await self._said(visit, held, ending)).with_headers({"idempotent-replayed": "true"})
        spent = int((perf_counter() - visit.started) * 1_000_000)
        self._door.acceptor.note_answer(
            CallAnswer(new.tenant_id, arrival.call.id, reply.status, reply.logged(), spent)
        )  # fmt: skip
        return reply

    async def _said(self, visit: Visit, execution_id: UUID, ending: "asyncio.Future[Ended]") -> Reply:
        response = visit.trigger.config.response
        try:
            async with asyncio.timeout(response.timeout_seconds):
                end = await ending
        except TimeoutError:
            return answers.too_slow(execution_id, response.timeout_seconds, visit.request_id)
        return answers.said_by_workflow(
            end.status, end.output, end.responded, execution_id, response.format, visit.request_id
        )

    def _again(self, visit: Visit, judged: Judged, held: UUID) -> Reply:
        before = self._as_before(visit, held)
        said = self._custom(visit, judged, held)
        return before if said is None else said.with_headers({"idempotent-replayed": "true"})

    def _custom(self, visit: Visit, judged: Judged, execution_id: UUID) -> Reply | None:
        trigger = visit.trigger
        if not trigger.config.response.is_custom:
            return None
        scope = scope_of(trigger.facts, judged.data, self._clock.now())
        return answers.custom(trigger.config, trigger.rules, scope, execution_id)


def _accepted(new: NewExecution) -> None:
    metrics.count_webhook_call(ACCEPTED, new.tenant_id)
    _log.debug(
        "call accepted", tenant_id=new.tenant_id, trigger_id=new.trigger_id, execution_id=new.id,
        trace_id=new.traceparent[3:35],
    )  # fmt: skip


def _unknown() -> NoReturn:
    metrics.count_webhook_call("unknown")
    raise NotFound("There is no such webhook.")


def _event(judged: Judged, new: NewExecution) -> NewEvent | None:
    if judged.event is None:
        return None
    return NewEvent(
        new.tenant_id, new_id(), judged.event, event_data(judged.data), "webhook", traceparent=new.traceparent
    )
