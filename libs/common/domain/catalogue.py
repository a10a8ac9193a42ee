"""The action catalogue: what types of action there are, what their config may hold, and whether running one has an
effect.

Pure description; what an action does when it runs is the executor's. The gateway validates definitions against this
table and shows it to users. What third parties add stands beside it: `libs.common.actions.installed`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from libs.common.domain.action_type import ActionKind, ActionType, OnUnknown
from libs.common.domain.catalogue_records import IN_APP_RULES, RECORD_TYPES
from libs.common.domain.catalogue_upkeep import UPKEEP_TYPES
from libs.common.domain.configs.flow import (
    BranchShape,
    EmitEventConfig,
    FailConfig,
    ForEachShape,
    LogConfig,
    RespondConfig,
    RunWorkflowConfig,
    SetVariablesConfig,
    WaitConfig,
    wait_rules,
    waits_for_somebody,
)
from libs.common.domain.configs.http import HttpRequestConfig, http_rules, url_faults
from libs.common.domain.configs.messages import (
    IN_APP,
    NotificationConfig,
    SendEmailConfig,
    SendSmsConfig,
    email_rules,
    sms_rules,
)
from libs.common.errors import Fault

__all__ = ["CATALOGUE", "ActionKind", "ActionType", "checkers", "kind_of", "kind_of_action", "on_unknown_of"]


def _notification_rules(config: dict[str, Any], path: str) -> list[Fault]:
    if config["channel"] == IN_APP:
        return IN_APP_RULES(config, path)
    return url_faults(config["url"], f"{path}.url")


_FLOW_TYPES = (
    ActionType(
        "set_variables", ActionKind.PURE, "Set variables", "Names values for later actions (`vars.<name>`).",
        SetVariablesConfig, {"values": {"amount": "{{ webhook.body.amount }}"}}, output={"amount": 100},
    ),
    ActionType(
        "branch", ActionKind.PURE, "Branch", "Runs the actions of the first case that holds, else those of `default`.",
        BranchShape, {"cases": [{"if": "{{ vars.amount > 100 }}", "actions": []}], "default": []}, output={"arm": 0},
    ),
    ActionType(
        "for_each", ActionKind.PURE, "For each", "Runs actions once for every item of a list.",
        ForEachShape, {"items": "{{ input.lines }}", "actions": [], "concurrency": 5},
        output={"count": 1, "failed": 0, "results": [None]},
    ),
    ActionType(
        "wait", ActionKind.PURE, "Wait",
        "Goes on later: after a time, when an event comes, or when somebody has approved. A wait that is over in vain "
        "fails with the class `timeout`, a no with `rejected`.",
        WaitConfig, {"event": "payment.received", "match": "{{ event.data.order == input.order }}",
                     "timeout_seconds": 86400},
        output={"until": "2027-01-01T09:00:00Z"}, rules=wait_rules,
    ),
    ActionType(
        "run_workflow", ActionKind.LOCAL, "Run a workflow",
        "Runs another workflow of the tenant, as it is now; its failure fails the action with the class "
        "`child_failed`. If this execution ends before one that it waits for, that is cancelled.",
        RunWorkflowConfig, {"workflow": "Charge", "input": {"customer": "{{ input.customer }}"}},
        output={"execution_id": "01890000-0000-7000-8000-000000000000", "status": "completed", "output": None},
    ),
    ActionType(
        "emit_event", ActionKind.LOCAL, "Emit an event",
        "Raises an event, which starts the workflows and ends the waits that it fits.",
        EmitEventConfig, {"event": "order.paid", "data": {"order": "{{ input.order }}"}},
        output={"event_id": "01890000-0000-7000-8000-000000000000", "execution_ids": []},
    ),
    ActionType(
        "respond", ActionKind.PURE, "Respond", "Says what a caller who waits for the workflow is answered.",
        RespondConfig, {"status": 200, "body": {"id": "{{ vars.id }}"}},
        output={"status": 200, "headers": {}, "body": None},
    ),
    ActionType(
        "log", ActionKind.PURE, "Log", "Writes a line into the record of the run.",
        LogConfig, {"message": "amount is {{ vars.amount }}"}, output={"level": "info", "message": "amount is 100"},
    ),
    ActionType(
        "fail", ActionKind.PURE, "Fail", "Ends the run as failed.",
        FailConfig, {"message": "the payload names no customer"},
    ),
)  # fmt: skip

_EFFECT_TYPES = (
    ActionType(
        "http_request", ActionKind.EFFECT, "HTTP request",
        "Calls an HTTP endpoint and keeps the answer. Every attempt carries the same `Idempotency-Key`, so an endpoint "
        "that knows the header does the work once; that is why an attempt in doubt is made again.",
        HttpRequestConfig, {"url": "https://example.com/hook", "method": "POST", "body": {"id": "{{ input.id }}"}},
        aliases=("call_webhook", "webhook"),
        output={"status": 200, "headers": {}, "body": None, "base64": False, "elapsed_ms": 0},
        on_unknown="retry", rules=http_rules,
    ),
    ActionType(
        "send_email", ActionKind.EFFECT, "Send a mail",
        "Sends a mail by SMTP. Every attempt carries the same `Message-ID`, but nothing promises that a repetition is "
        "dropped and a mail cannot be taken back: an attempt in doubt is a failure unless `on_unknown` says otherwise.",
        SendEmailConfig,
        {"to": "{{ input.email }}", "subject": "Your order {{ input.id }}", "text": "Thank you, {{ input.name }}."},
        output={"message_id": "<dry-run@signalbox>", "accepted": [], "refused": []},
        on_unknown="fail", rules=email_rules,
    ),
    ActionType(
        "send_sms", ActionKind.EFFECT, "Send a text message",
        "Sends an SMS through Twilio or a service that speaks as Twilio does. It costs money each time and Twilio does "
        "not recognise a repetition: an attempt in doubt is a failure unless `on_unknown` says otherwise.",
        SendSmsConfig,
        {"account_sid": "AC0123456789", "auth_token": "{{ secrets.TWILIO_TOKEN }}", "from": "+15005550006",
         "to": "{{ input.phone }}", "body": "Your code is {{ vars.code }}"},
        output={"sid": "SM0", "status": "queued", "segments": 1},
        on_unknown="fail", rules=sms_rules,
    ),
    ActionType(
        "send_notification", ActionKind.EFFECT, "Send a notification",
        "Tells people: in Slack, Microsoft Teams, Discord, any webhook, or (`in_app`) in the product itself. An alert "
        "that is missing is worse than one that comes twice: an attempt in doubt is made again.",
        NotificationConfig,
        {"channel": "slack", "url": "{{ secrets.SLACK_URL }}", "message": "Big one: {{ webhook.body.amount }}"},
        output={"channel": "slack", "status": 200}, on_unknown="retry", rules=_notification_rules,
    ),
)  # fmt: skip

TYPES = (*_FLOW_TYPES, *_EFFECT_TYPES, *RECORD_TYPES, *UPKEEP_TYPES)
"""Every type that comes with Signalbox, once."""

CATALOGUE: Mapping[str, ActionType] = {name: entry for entry in TYPES for name in (entry.name, *entry.aliases)}
"""Type name, aliases included → its row."""


def kind_of(type_name: str) -> ActionKind:
    """How durable the engine must be around actions of that type."""
    return CATALOGUE[type_name].kind


def kind_of_action(type_name: str, config: Mapping[str, Any]) -> ActionKind:
    """As `kind_of`, for one action: a notification inside of the product is a write to our own database, and so is
    waiting for somebody.

    What this depends on is never a template, so it is known before the action runs.
    """
    if type_name == "send_notification" and config.get("channel") == IN_APP:
        return ActionKind.LOCAL
    if type_name == "wait" and waits_for_somebody(config):
        return ActionKind.LOCAL
    return kind_of(type_name)


def on_unknown_of(type_name: str) -> OnUnknown:
    """What becomes of an attempt in doubt of an action that does not say it itself."""
    return CATALOGUE[type_name].on_unknown


def checkers() -> Mapping[str, Callable[[dict[str, Any], str], list[Fault]]]:
    """Type name → the check of its config, as validation takes them."""
    return {name: entry.check for name, entry in CATALOGUE.items()}
