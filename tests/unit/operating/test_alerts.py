"""The alert rules that we ship: their unit tests pass and hold each of them, and each leads to a page that helps."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from libs.common.telemetry import metrics, states, tenants
from libs.common.telemetry.registry import DECLARED
from services.cli import app
from tests.servers import ROOT

SHIPPED = ROOT / "deploy" / "prometheus"
PAGES = ROOT / "docs" / "runbooks"
RULES = (SHIPPED / "signalbox.rules.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)\n", RULES)
TESTS = ("signalbox.test.yml", "signalbox.days.test.yml")
DECLARING = metrics, states, tenants
SUFFIXES = ("_bucket", "_count", "_sum", "")


def promtool(*arguments: str, folder: Path = SHIPPED) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.fail("promtool is not installed: apt-get install prometheus", pytrace=False)
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def blocks(language: str) -> list[tuple[str, str]]:
    """Page and text of every block of code of that language."""
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [(page.name, text) for page in sorted(PAGES.glob("*.md")) for text in pattern.findall(page.read_text())]


def test_prometheus_reads_what_we_ship() -> None:
    checked = promtool("check", "config", "prometheus.yml")
    assert checked.returncode == 0, checked.stderr


def test_the_alerts_speak_and_are_silent_as_their_tests_say() -> None:
    tested = promtool("test", "rules", *TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_no_alert_is_without_a_test_that_makes_it_speak(tmp_path: Path) -> None:
    """Were an alert not there, a test would miss it."""
    for name in TESTS:
        shutil.copy(SHIPPED / name, tmp_path)
    (tmp_path / "signalbox.rules.yml").write_text(RULES.replace("- alert: ", "- alert: Not"))
    told = promtool("test", "rules", *TESTS, folder=tmp_path)
    assert set(re.findall(r"alertname: (\w+)", told.stdout + told.stderr)) == set(ALERTS)


def test_each_alert_says_how_urgent_it_is_and_leads_to_its_page() -> None:
    parts = RULES.split("- alert: ")[1:]
    assert len(parts) == len(set(ALERTS)) > 15
    led_to: set[str] = set()
    for part in parts:
        [page] = re.findall(r"runbook: docs/runbooks/(\S+)", part)
        assert re.search(r"severity: (page|ticket)", part), part
        assert part.split("\n")[0] in (PAGES / page).read_text().split("\n")[0], "the page is called after its alerts"
        led_to.add(page)
    assert led_to | {"README.md"} == {page.name for page in PAGES.glob("*.md")}


def test_the_list_of_runbooks_has_every_alert() -> None:
    listed = re.findall(r"\| (\w+) \| (?:page|ticket) \| \[[\w-]+\]\(([\w-]+\.md)\)", (PAGES / "README.md").read_text())
    assert [name for name, _ in listed] == ALERTS
    assert all((PAGES / page).exists() for _, page in listed)


@pytest.mark.parametrize("page", sorted(PAGES.glob("[a-z]*.md")), ids=lambda page: page.stem)
def test_a_page_says_what_it_means_how_to_look_and_how_to_mend(page: Path) -> None:
    titles = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert titles == ["What it means", "How to look", "How to mend"]


def test_the_commands_on_the_pages_exist() -> None:
    lines = [line for _, text in blocks("sh") for line in text.splitlines()]
    ours = [line.removeprefix("signalbox ") for line in lines if line.startswith("signalbox ")]
    assert len(ours) > 5
    for command in ours:
        app.parse_args(command, exit_on_error=False, print_error=False)
    assert {line.split()[0] for line in lines} == {"signalbox", "rabbitmqctl", "psql"}


def test_the_queries_on_the_pages_are_queries(tmp_path: Path) -> None:
    queries = [line for _, text in blocks("promql") for line in text.splitlines()]
    rules = "".join(f"  - {{record: 'a:b{number}', expr: '{query}'}}\n" for number, query in enumerate(queries))
    (tmp_path / "rules.yml").write_text(f"groups:\n- name: pages\n  rules:\n{rules}")
    checked = promtool("check", "rules", "rules.yml", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(queries) > 20


def test_rules_and_pages_name_series_that_there_are() -> None:
    known = {f"{one.name}{suffix}" for one in DECLARED for suffix in SUFFIXES}
    text = "\n".join([RULES, *(page.read_text() for page in PAGES.glob("*.md"))])
    named = set(re.findall(r"\bsignalbox_\w+", text))
    assert len(named) > 25
    assert named - known == set()
