"""The table of errors in docs/api.md is that of the product."""

import re

from libs.common.problems import STATUSES
from tests.servers import ROOT

_ROW = re.compile(r"^\| ([0-9, ]+) \| (.+) \|$", re.MULTILINE)
_SLUG = re.compile(r"`([a-z-]+)`")


def test_every_problem_is_listed_with_its_status() -> None:
    rows = _ROW.findall((ROOT / "docs" / "api.md").read_text())
    listed = {slug: statuses.split(", ") for statuses, slugs in rows for slug in _SLUG.findall(slugs)}
    assert listed.keys() == STATUSES.keys()
    assert [slug for slug, (status, _) in STATUSES.items() if str(status) not in listed[slug]] == []
