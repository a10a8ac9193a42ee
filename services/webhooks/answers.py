"""What callers are answered: 202 with the execution's id, what the trigger says, or what the workflow said."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from libs.common.domain.faults import is_object
from libs.common.domain.functions import plain_text
from libs.common.domain.template_error import TemplateError
from libs.common.domain.trigger import WebhookConfig
from libs.common.domain.webhook_settings import is_header
from libs.common.problems import CONTENT_TYPE, TYPE_PREFIX
from libs.common.webhook_rules import Rules

_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"
_LOGGED_CHARACTERS = 4_096
_SAFE = {"content-security-policy": "sandbox", "x-content-type-options": "nosniff"}
"""What a workflow answers is shown by no browser as a page of this address."""

_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """What a call that was not refused gets. `execution_id` is None when the trigger's conditions did not hold."""

    success: bool
    execution_id: UUID | None
    message: str


class Reply(msgspec.Struct, frozen=True):
    """An answer as it is sent. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def with_headers(self, more: Mapping[str, str]) -> "Reply":
        return msgspec.structs.replace(self, headers={**self.headers, **more}) if more else self

    def logged(self) -> str:
        """As it stands in the log of calls, JSON text; of a long body the beginning."""
        body = self.body[:_LOGGED_CHARACTERS].decode(errors="replace")
        return _encode({"status": self.status, "headers": self.headers, "body": body}).decode()


def accepted(execution_id: UUID) -> Reply:
    """202: committed, and it will run."""
    answer = Answer(True, execution_id, "The workflow has been started.")
    return Reply(202, {"content-type": _JSON, **_location(execution_id)}, _encode(answer))


def nothing_started() -> Reply:
    """202: the conditions of the trigger do not hold."""
    answer = Answer(True, None, "The conditions of the trigger do not hold; nothing was started.")
    return Reply(202, {"content-type": _JSON}, _encode(answer))


def custom(config: WebhookConfig, rules: Rules, scope: Mapping[str, Any], execution_id: UUID) -> Reply | None:
    """What the trigger says; None when this call lets nobody render it."""
    response = config.response
    try:
        seen = {**scope, "execution": {"id": str(execution_id)}}
        body: Any = None if rules.answer is None else rules.answer.render(seen)
        return _said(response.status or 200, response.headers, body, execution_id, response.format)
    except (TemplateError, ValueError, TypeError):
        return None


def said_by_workflow(
    status: str, output: str | None, responded: str | None, execution_id: UUID, form: str, request_id: str
) -> Reply:
    """What a run that has ended says to who waited: its `respond`, or its output. `output`, `responded`: JSON texts."""
    said: object = None if responded is None else msgspec.json.decode(responded)
    if is_object(said):
        return _said(int(said["status"]), said.get("headers") or {}, said.get("body"), execution_id, form)
    if status == "completed":
        return _said(200, {}, None if output is None else msgspec.json.decode(output), execution_id, form)
    detail = f"The workflow was started, but it has ended as {status}."
    return _problem(502, "execution-failed", "The workflow did not succeed", detail, execution_id, request_id)


def too_slow(execution_id: UUID, seconds: float, request_id: str) -> Reply:
    """504: the workflow goes on, but nobody waits any longer."""
    detail = f"The workflow was started, but has not ended within {seconds:g} seconds; it goes on."
    return _problem(504, "still-running", "The workflow takes longer", detail, execution_id, request_id)


def _said(status: int, headers: Mapping[str, object], body: Any, execution_id: UUID, form: str) -> Reply:
    """A text is sent as it is, anything else as JSON; headers that an answer may not carry are left out."""
    wanted = {name.lower(): str(value) for name, value in headers.items() if is_header(name, str(value))}
    as_text = form == "text" or (isinstance(body, str) and "content-type" in wanted)
    content = b"" if body is None else plain_text(body).encode() if as_text else _encode(body)
    if status in (204, 304):
        content = b""
    kind = {"content-type": _TEXT if form == "text" else _JSON}
    return Reply(status, {**kind, **_location(execution_id), **wanted, **_SAFE}, content)


def _problem(status: int, slug: str, title: str, detail: str, execution_id: UUID, request_id: str) -> Reply:
    body = {
        "type": TYPE_PREFIX + slug, "title": title, "status": status, "detail": detail, "request_id": request_id,
        "execution_id": execution_id,
    }  # fmt: skip
    return Reply(status, {"content-type": CONTENT_TYPE, **_location(execution_id)}, _encode(body))


def _location(execution_id: UUID) -> dict[str, str]:
    return {"location": f"/api/v1/executions/{execution_id}"}
