"""Log lines: their form, what is bound to them, and what never reaches them."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import structlog

from libs.common.telemetry.logging import configure_logging, redact


@pytest.fixture(autouse=True)
def undo() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    root.handlers = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_what_was_said_and_bound(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json", "gateway")
    with structlog.contextvars.bound_contextvars(request_id="r-1", tenant_id=UUID(int=1)):
        structlog.get_logger("here").info("it happened", count=3)
    structlog.get_logger("here").info("outside")
    first, second = lines(capsys)
    assert first.pop("ts").endswith("Z")
    assert first == {
        "level": "info", "service": "gateway", "logger": "here", "event": "it happened", "count": 3,
        "request_id": "r-1", "tenant_id": "00000000-0000-0000-0000-000000000001",
    }  # fmt: skip
    assert "request_id" not in second


def test_lower_levels_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "json", "x")
    structlog.get_logger("a").info("no")
    logging.getLogger("b").info("no")
    structlog.get_logger("a").warning("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_a_log_on_a_full_disk_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("info", "json", "x")
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(full, write_through=True))
        with pytest.raises(OSError, match="No space left"):
            sys.stderr.write("any line\n")
        structlog.get_logger("a").error("a line of ours")


def test_libraries_come_through_the_same_output(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json", "x")
    logging.getLogger("uvicorn.error").warning("stopped %d of %s", 3, "five")
    logging.getLogger("odd").log(35, "between levels")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second, third = lines(capsys)
    assert (first["event"], first["level"], first["logger"]) == ("stopped 3 of five", "warning", "uvicorn.error")
    assert second["level"] == "warning"
    assert "DeprecationWarning: old" in third["event"]


def test_an_exception_is_one_line_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json", "x")
    try:
        raise ValueError("planted")
    except ValueError:
        structlog.get_logger("a").exception("went wrong")
        logging.getLogger("b").exception("went wrong too")
    for line in lines(capsys):
        assert line["level"] == "error"
        assert "ValueError: planted" in line["exception"]


def test_what_cannot_be_written_as_json_is_written_somehow(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json", "x")
    loop: list[Any] = []
    loop.append(loop)
    structlog.get_logger("a").info("odd", thing=object(), bad=b"\xff", loop=loop, nan=float("nan"), text="\ud800")
    (line,) = lines(capsys)
    assert line["thing"].strip("'\"").startswith("<object")


def test_the_names_of_a_line_cannot_be_taken(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json", "x")
    structlog.get_logger("a").info("true", service="false", level="false", ts="false")
    (line,) = lines(capsys)
    assert (line["service"], line["level"], line["event"]) == ("x", "info", "true")


def test_secrets_never_reach_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    canary = "cAnAry-8c1f"
    for fmt in ("json", "console"):
        configure_logging("info", fmt, "x")  # pyright: ignore[reportArgumentType]
        structlog.get_logger("a").info(
            f"connecting to amqp://user:{canary}@host/",
            Authorization=canary,
            api_key=canary,
            headers={"X-Api-Key": canary, "Cookie": [canary], "nested": [{"client_secret": {"a": canary}}]},
            url=f"redis://:{canary}@host",
            pair=("password", f"amqp://u:{canary}@h"),
        )
        logging.getLogger("b").warning("lost %s", f"postgresql://signalbox:{canary}@host/db")
        try:
            raise OSError(f"cannot reach amqp://user:{canary}@host/")
        except OSError:
            structlog.get_logger("a").exception("failed")
    shown = capsys.readouterr().err
    assert "headers" in shown
    assert canary not in shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"token": 1, "tokens": [1]}, {"token": "***", "tokens": "***"}),
        ({"apikey": "x", "api-key": "x", "key": "x"}, {"apikey": "***", "api-key": "***", "key": "x"}),
        ("https://user:pw@host/?a=b@c", "https://***@host/?a=b@c"),
        ("https://host/a@b", "https://host/a@b"),
        (3, 3),
        (None, None),
    ],
)
def test_redaction(value: object, expected: object) -> None:
    assert redact(value) == expected


def test_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console", "x")
    structlog.get_logger("a").info("it happened", count=3)
    assert "it happened" in capsys.readouterr().err
