"""Logs: one JSON object a line on stderr, or text for people. Everything goes through here, the libraries' logs too.

Whoever logs writes `structlog.get_logger(__name__).info("what happened", key=value)`; what is bound with
`structlog.contextvars.bound_contextvars(request_id=…, tenant_id=…, execution_id=…, trace_id=…)` is on every line
written meanwhile. A level that is switched off costs one call that does nothing. Values under telling keys, and
passwords in addresses, never reach a line; message texts are the caller's responsibility, so secrets are never
formatted into them.
"""

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from libs.common.clock import SystemClock

REDACTED = "***"

_SECRET_KEY = re.compile(r"authorization|token|secret|password|api[-_]?key|cookie", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SILENT = ("aiormq", "aio_pika", "asyncpg", "opentelemetry")
"""They report every lost connection several times, with traces; whoever needed it says it once and in words."""
_TERSE = ("uvicorn",)
"""Of its starts and stops our own lines tell."""
_RESERVED = ("ts", "level", "service", "logger", "event")
_MAX_DEPTH = 6


def configure_logging(level: str, fmt: Literal["json", "console"], service: str) -> None:
    """All logs of this process from `level` (debug, info, warning, error) on.

    Called once, first thing: a logger keeps the configuration that it met when it was first used.
    """
    threshold = _LEVELS[level]
    structlog.configure(
        processors=_processors(fmt, service),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_Stderr,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(threshold)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in _TERSE:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(True)


def redact(value: Any, depth: int = 0) -> Any:
    """The value without secrets: by key in mappings at any depth, and without passwords in addresses."""
    if isinstance(value, str):
        return _CREDENTIALS.sub(REDACTED, value) if "://" in value else value
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {key: REDACTED if _is_secret(str(key)) else redact(inner, depth + 1) for key, inner in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(inner, depth + 1) for inner in cast("list[Any]", value)]
    return value


@lru_cache(maxsize=2048)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _processors(fmt: str, service: str) -> list[Processor]:
    clock = SystemClock()

    def stamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        head = {"ts": clock.now(), "level": method, "service": service, "logger": logger.name}
        head["event"] = str(event.pop("event", ""))
        return {**head, **event, **head}  # first, and not to be overwritten

    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        stamp,
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    if fmt == "json":
        return [*common, _to_json]
    text = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        timestamp_key="ts",
        exception_formatter=structlog.dev.plain_traceback,  # the pretty one shows local variables, secrets and all
    )
    return [*common, _readable_time, text]


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if key not in _RESERVED and _is_secret(key):
            event[key] = REDACTED
        else:
            event[key] = redact(value)
    return event


def _readable_time(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["ts"] = f"{event['ts']:%H:%M:%S}"
    return event


_json = msgspec.json.Encoder(enc_hook=repr)


def _to_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    try:
        return _json.encode(event).decode()
    except (TypeError, ValueError, RecursionError):
        return _json.encode({key: repr(value) for key, value in event.items()}).decode()


class _Stderr:
    """Where the lines go. Looks `sys.stderr` up each time: tests and supervisors replace it."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        with suppress(OSError):  # a full disk under the log is no reason to fail what is logged
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


class _Bridge(logging.Handler):
    """Hands what libraries log by the standard module to the same output."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            logger = structlog.get_logger(record.name)
            logger.log(_known_level(record.levelno), record.getMessage(), exc_info=record.exc_info or None)
        except Exception:  # noqa: BLE001 - as the standard module does: a bad log line stops nobody
            self.handleError(record)


def _known_level(level: int) -> int:
    return max(logging.DEBUG, min(level // 10 * 10, logging.CRITICAL))
