"""deploy/systemd: systemd understands the units, and finds that they are confined."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.installation import SERVICES
from tests.servers import ROOT

FOLDER = ROOT / "deploy" / "systemd"
PROGRAM = "/opt/signalbox/bin/signalbox"
MOST_EXPOSED = 20
"""Of 100, by `systemd-analyze security`: what is left is that a service of the network is on it."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units as they would be started: templates with a port, the program one that is there."""
    for file in FOLDER.glob("signalbox*.*"):
        text = file.read_text().replace(PROGRAM, sys.executable)
        (tmp_path / file.name.replace("@.", "@8000.")).write_text(text)
    return sorted(tmp_path.glob("*.service"))


@needs_systemd
def test_systemd_understands_the_units(units: list[Path]) -> None:
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@needs_systemd
def test_they_are_confined(units: list[Path]) -> None:
    for unit in units:
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", unit]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout


def test_each_service_has_a_unit_with_its_secrets_in_files() -> None:
    for name in (*SERVICES, "migrate"):
        template = "" if name == "migrate" else "@"
        text = (FOLDER / f"signalbox-{name}{template}.service").read_text()
        port = "" if name == "migrate" else " --port %i"
        assert f"ExecStart={PROGRAM} {name}{port}\n" in text
        loaded = dict(re.findall(r"^LoadCredential=(\w+):(\S+)$", text, re.MULTILINE))
        told = dict(re.findall(r"^Environment=SIGNALBOX_(\w+)_FILE=%d/(\w+)$", text, re.MULTILINE))
        assert all(path == f"/etc/signalbox/credentials/{secret}" for secret, path in loaded.items())
        assert {key.lower(): secret for key, secret in told.items()} == {secret: secret for secret in loaded}
        assert ("platform_key" in loaded) == (name == "gateway")
