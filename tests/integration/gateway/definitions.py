"""Workflows that the gateway's tests store."""

from typing import Any

LOG = {"key": "say", "type": "log", "config": {"message": "hello"}}


def workflow(name: str = "First", **more: Any) -> dict[str, Any]:
    """A small workflow that is right; `more` replaces or adds fields."""
    return {"name": name, "actions": [LOG], **more}


def webhook(key: str = "hook", **auth: Any) -> dict[str, Any]:
    """A webhook trigger with that authentication."""
    return {"key": key, "type": "webhook", "config": {"auth": auth} if auth else {}}


def hourly(key: str = "hourly", **more: Any) -> dict[str, Any]:
    """A schedule trigger that fires every hour."""
    return {"key": key, "type": "schedule", "config": {"type": "interval", "hours": 1}, **more}
