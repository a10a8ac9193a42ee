"""The code of a release, kept as an archive beside what is known of it, so that a test can run it against today's
schema and today's processes. No git is needed for that: only keeping it asks git.

It holds `libs` and `services` without the two large files of the API's page, which no test asks for.
"""

import lzma
import subprocess
import tarfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "releases"
MARK = "+kept"
"""Ends the version that the unpacked code tells, so that nobody takes it for the present one."""

_KEPT = ("libs", "services", ":!*swagger-ui-bundle.js", ":!*swagger-ui.css")


def keep_code(version: str, commit: str = "HEAD") -> Path:
    """The code as it is at `commit`, as a file. Git writes the commit into it: `commit_of`."""
    archived = subprocess.run(
        ["git", "archive", commit, *_KEPT], cwd=FOLDER.parents[3], check=True, capture_output=True
    )
    path = FOLDER / f"{version}.tar.xz"
    path.write_bytes(lzma.compress(archived.stdout, preset=9 | lzma.PRESET_EXTREME))
    return path


def commit_of(version: str) -> str:
    """The commit whose code is kept."""
    with tarfile.open(FOLDER / f"{version}.tar.xz") as archive:
        return str(archive.pax_headers["comment"])


def unpack(version: str, folder: Path) -> Path:
    """A folder from which the release's services start: `python -m services.cli` there."""
    with tarfile.open(FOLDER / f"{version}.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # CPython has it since 3.11.4
        archive.extractall(folder)
    told = folder / "libs" / "common" / "version.py"
    text = told.read_text()
    assert f'"{version}"' in text
    told.write_text(text.replace(f'"{version}"', f'"{version}{MARK}"'))
    return folder
