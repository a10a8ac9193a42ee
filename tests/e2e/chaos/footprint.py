"""What the services leave on the machine: memory, open files, and lines in their logs."""

import os
from collections.abc import Collection, Sequence

from tests.e2e.installation import Installation

MOST_DESCRIPTORS = 300
"""A service has some 20 by itself, a session for each of its pool, and one for each caller and each call under way."""
MOST_MB = 400


def bounded(running: Installation) -> None:
    """No service has taken more than it may have after any load."""
    for name, service in running.services.items():
        if service.alive:
            assert len(os.listdir(f"/proc/{service.pid}/fd")) <= MOST_DESCRIPTORS, name
            assert service.resident_mb() <= MOST_MB, name


def check_logs(running: Installation, hidden: Sequence[str], known_errors: Collection[str]) -> None:
    """No line holds what is hidden, and no service met an error that it did not expect."""
    for name, service in running.services.items():
        text = service.log.read_text()
        assert [one for one in hidden if one in text] == [], name
        errors = [line for line in running.log_of(name) if line["level"] == "error" or "exception" in line]
        assert [line for line in errors if line["event"] not in known_errors] == []
