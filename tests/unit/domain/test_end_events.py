"""What the end of an execution raises, what listens to it, and what keeps ends from going round."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.domain.end_events import MAX_MESSAGE, MAX_OUTPUT_BYTES, EndedRun, end_event
from libs.common.domain.event_names import END_NAMES, END_PATTERNS, is_pattern, patterns_for
from libs.common.domain.events import MAX_ENDS, EventTrigger, Happening, next_chain

TENANT, RUN, EVENT, FIRST, OTHER = (UUID(int=number) for number in range(1, 6))
AT = datetime(2031, 3, 1, 12, tzinfo=UTC)


def ended(trigger_type: str = "manual", data: Any = None, workflow: UUID = FIRST, **more: Any) -> EndedRun:
    run = EndedRun(
        TENANT, RUN, workflow, "First", 4, "completed", trigger_type, data, '{"n":1}', None, AT - timedelta(seconds=2),
        AT, next_chain(trigger_type, data, workflow), "ada", "",
    )  # fmt: skip
    return msgspec.structs.replace(run, **more)


def data_of(run: EndedRun) -> dict[str, Any]:
    return msgspec.json.decode(end_event(run, EVENT).data)


def judged(run: EndedRun, workflow: UUID) -> str:
    trigger = EventTrigger(TENANT, UUID(int=9), "on", "execution.*", None, workflow, "W", 1, "acme")
    return Happening(end_event(run, EVENT), AT).judge(trigger, 0).outcome.outcome


def test_what_an_end_says() -> None:
    event = end_event(ended(), EVENT)
    assert (event.type, event.source, event.execution_id, event.chain) == (
        "execution.completed", "execution", RUN, (FIRST,),
    )  # fmt: skip
    assert msgspec.json.decode(event.data) == {
        "execution_id": str(RUN), "workflow_id": str(FIRST), "workflow_name": "First", "workflow_version": 4,
        "status": "completed", "trigger": "manual", "duration_seconds": 2.0, "output": {"n": 1}, "error": None,
        "ends": 1,
    }  # fmt: skip


def test_output_and_error_are_bounded() -> None:
    large = f'"{"x" * MAX_OUTPUT_BYTES}"'
    assert (data_of(ended(output=large))["output"], data_of(ended(output=large))["output_bytes"]) == (None, len(large))
    error = msgspec.json.encode({"class": "http_500", "message": "m" * 9_999, "action": "call", "http_status": 500})
    failed = data_of(ended(status="failed", output=None, error=error.decode()))
    assert failed["error"] == {"class": "http_500", "message": "m" * MAX_MESSAGE, "action": "call"}


def test_ends_are_listened_to_by_name() -> None:
    assert {f"execution.{status}" for status in ("completed", "failed", "cancelled", "timed_out")} == END_NAMES
    for name in END_NAMES:
        assert set(patterns_for(name)) <= {*END_PATTERNS, "execution.timed_*"}
    assert all(is_pattern(pattern) and pattern.startswith("execution.") for pattern in END_PATTERNS)
    assert "*" in patterns_for("execution.other")


def test_an_end_starts_nothing_that_led_to_it() -> None:
    assert judged(ended(), FIRST) == "loop"
    assert judged(ended(), OTHER) == "started"
    brought: dict[str, Any] = {"type": "deal.won", "chain": [str(OTHER)], "data": {}}
    assert judged(ended("event", brought), OTHER) == "loop"


@pytest.mark.parametrize("ends", range(1, MAX_ENDS + 2))
def test_ends_that_lead_to_one_another_come_to_an_end(ends: int) -> None:
    run, chain = ended(), list[str]()
    for number in range(1, ends):
        chain.append(str(run.workflow_id))
        run = ended(
            "event", {"type": "execution.completed", "chain": chain, "data": data_of(run)}, UUID(int=100 + number)
        )
    assert data_of(run)["ends"] == ends
    assert judged(run, OTHER) == ("started" if ends <= MAX_ENDS else "too_deep")
