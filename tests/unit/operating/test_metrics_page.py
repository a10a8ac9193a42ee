"""docs/metrics.md lists the series that are declared."""

import subprocess
import sys

from libs.common.telemetry import metrics, states, tenants
from libs.common.telemetry.registry import DECLARED
from tests.servers import ROOT

DECLARING = metrics, states, tenants


def test_the_page_is_as_the_declarations_say() -> None:
    """Otherwise: `python -m scripts.describe_metrics`."""
    command = [sys.executable, "-m", "scripts.describe_metrics", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_names_follow_the_conventions_of_prometheus() -> None:
    names = [one.name for one in DECLARED]
    assert len(set(names)) == len(names) > 60
    for one in DECLARED:
        assert (one.kind == "counter") == one.name.endswith("_total"), one.name
        assert one.text and not one.text.endswith(".")
        assert "le" not in one.labels
