"""A report as numbers and as a text."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from libs.common.domain.notifications import MAX_MESSAGE
from libs.common.domain.report import Counts, report_document

SINCE, UNTIL = datetime(2026, 11, 14, 9, tzinfo=UTC), datetime(2026, 11, 21, 9, tzinfo=UTC)
NONE = Counts(None, None, 0, 0, 0, 0, 0, 0, None, None, None, None)
SOME = Counts(None, None, 10, 6, 1, 1, 1, 1, 20.12345, 10.0, 90.4, 100.0)


def of_workflow(number: int, name: str | None) -> Counts:
    return msgspec.structs.replace(SOME, workflow_id=UUID(int=number), name=name)


def test_nothing_has_happened() -> None:
    made = report_document(SINCE, UNTIL, [NONE], {}, {})
    assert made["executions"]["duration_ms"] == {"average": None, "p50": None, "p95": None, "max": None}
    assert (made["workflows"], made["firings"], made["webhook_calls"]) == ([], {}, {})
    assert made["text"] == (
        "2026-11-14 09:00 to 2026-11-21 09:00 UTC\nExecutions: none\nSchedules: none\nWebhook calls: none"
    )


def test_numbers_and_sentences() -> None:
    made = report_document(
        SINCE, UNTIL, [SOME, of_workflow(1, "Orders"), of_workflow(2, None)],
        {"fired": 5, "skipped_overlap": 2}, {"accepted": 3},
    )  # fmt: skip
    assert made["executions"]["duration_ms"] == {"average": 20.123, "p50": 10.0, "p95": 90.4, "max": 100.0}
    told = (
        "10 (6 completed, 1 failed, 1 timed out, 1 cancelled, 1 not finished), half of them within 10 ms,"
        " 95 % within 90 ms"
    )
    assert made["text"].splitlines()[1:] == [
        f"Executions: {told}", "Schedules: 5 fired, 2 skipped overlap", "Webhook calls: 3 accepted",
        f"- Orders: {told}", f"- {UUID(int=2)}: {told}",
    ]  # fmt: skip
    assert msgspec.to_builtins(made)["workflows"][0]["id"] == str(UUID(int=1))


def test_a_long_report_fits_into_a_notification() -> None:
    many = [of_workflow(number, "x" * 200) for number in range(100)]
    calls = {f"outcome {number}": 1_000_000 for number in range(20)}
    text = report_document(SINCE, UNTIL, [SOME, *many], {}, calls)["text"]
    assert len(text) <= MAX_MESSAGE
    assert text.splitlines()[-1] == "- and 88 more"
