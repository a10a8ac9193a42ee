"""deploy/Dockerfile: nothing that a linter knows against it, and what it copies, runs as and listens on is right.

That the image's steps work is not shown here, where there is no builder of images.
"""

import re
import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT

FILE = ROOT / "deploy" / "Dockerfile"
TEXT = FILE.read_text()


def test_hadolint_finds_nothing() -> None:
    checked = subprocess.run(
        [Path(sys.executable).parent / "hadolint", FILE], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    sources = {name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE) for name in line.split()}
    assert {f"!{name}" for name in sources} == {line for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert all((ROOT / name).exists() for name in sources)


def test_it_installs_what_the_lock_names_and_runs_as_nobody() -> None:
    installs = re.findall(r"pip install ([^\n\\]+)", TEXT)
    assert [("--require-hashes" in line, "--no-index" in line) for line in installs] == [(True, False), (False, True)]
    final = TEXT.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", final, re.MULTILINE)
    assert all(word in final for word in ("HEALTHCHECK ", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["signalbox"]'))
