"""Every setting that deploy/, the docs and the examples name is one that the product reads."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec

from libs.common.settings import FILE_SUFFIX, PREFIX, Settings, is_secret
from tests.servers import ROOT

FIELDS = msgspec.structs.fields(Settings)
REAL = {PREFIX + field.name.upper() for field in FIELDS}
FILES = {PREFIX + field.name.upper() + FILE_SUFFIX for field in FIELDS if is_secret(field)}
OURS = re.compile(r"SIGNALBOX_(CHAOS|FUZZ|SIMULATE|TEST)_\w+")
"""Knobs of the tests."""
NAME = re.compile(r"\bSIGNALBOX_[A-Z_]*[A-Z](?!\w|…)")


def pages() -> list[Path]:
    folders = [
        file for folder in ("deploy", "docs", "examples") for file in (ROOT / folder).rglob("*") if file.is_file()
    ]
    return [file for file in (*folders, *ROOT.glob("*.md")) if file.suffix not in {".pyc"}]


def test_every_setting_that_is_named_is_real() -> None:
    named = {(name, file.name) for file in pages() for name in NAME.findall(file.read_text())}
    assert len({name for name, _ in named} & REAL) > len(REAL) / 2
    assert {(name, file) for name, file in named if name not in REAL | FILES and not OURS.fullmatch(name)} == set()


def test_the_yaml_is_tidy() -> None:
    checker = [sys.executable, Path(sys.executable).parent / "yamllint", "--strict", "deploy"]
    checked = subprocess.run(checker, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
