"""The rows of the catalogue about the tenant's own history. Run as effects, beside the journal: they take their time,
and doing one twice does no harm.
"""

from libs.common.domain.action_type import ActionKind, ActionType
from libs.common.domain.configs.upkeep import CleanUpConfig, MakeReportConfig

UPKEEP_TYPES = (
    ActionType(
        "make_report", ActionKind.EFFECT, "Make a report",
        "Counts what has happened in the last days: executions by status and by workflow with their durations, firings "
        "of schedules, webhook calls; as numbers and as a text to send.",
        MakeReportConfig, {"period_days": 7},
        output={"from": "2026-12-25T09:00:00Z", "to": "2027-01-01T09:00:00Z", "executions": {"total": 0},
                "workflows": [], "firings": {}, "webhook_calls": {}, "text": ""},
    ),
    ActionType(
        "clean_up", ActionKind.EFFECT, "Clean up",
        "Deletes history that is old: finished executions with all that belongs to them, webhook calls, events, "
        "notifications. What has not ended stays. What it does not get done in its time it leaves to the next run "
        "(`complete` is false).",
        CleanUpConfig, {"older_than_days": 90, "what": ["executions", "webhook_calls"]},
        output={"before": "2026-10-03T09:00:00Z", "executions": 0, "webhook_calls": 0, "complete": True},
    ),
)  # fmt: skip
