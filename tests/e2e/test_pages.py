"""Every page of the documentation: what stands in a fence with `sh` is executed, here or by the test that the page has
for itself; what cannot be executed here is marked, and holds nothing else.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.installation import PLATFORM_KEY
from tests.e2e.pages import addressed, all_fences, fences, goes_through, pages, text_of
from tests.e2e.passing_time import Site, site
from tests.servers import ROOT
from tests.tokens import AUDIENCE, ISSUER, SECRET, signed

OWN_TEST = {"docs/cookbook.md": "test_cookbook.py", "docs/scheduled-tasks.md": "test_scheduled_tasks.py"}
"""Pages whose commands mean more than that they succeed."""

LOOKED_AT = "docs/runbooks/"
"""What somebody on call types on a bad day; `tests/unit/operating` sees to it that the programs know it."""

KINDS = {"", "http", "ini", "json", "promql", "python", "sh", "sh no-run", "sql", "toml", "yaml"}
NOT_HERE = {
    "/opt/signalbox/bin/pip", "cp", "deploy/compose/make-secrets.sh", "docker", "export", "install", "kubectl", "make",
    "psql", "python3", "signalbox", "systemctl",
}  # fmt: skip
"""Programs that need a cluster, a container, a machine of their own, or that run until they are stopped."""

Variables = Callable[[Site], Awaitable[Mapping[str, str]]]


async def nothing(_running: Site) -> Mapping[str, str]:
    return {}


async def a_token(_running: Site) -> Mapping[str, str]:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": 4_000_000_000, "tenant": "acme", "role": "editor", "sub": "grace"}
    return {"TOKEN": signed(claims, "HS256")}


async def its_id(running: Site) -> Mapping[str, str]:
    async with aiohttp.ClientSession() as session:
        platform = {"Authorization": f"Bearer {PLATFORM_KEY}"}
        async with session.get(f"{running.base}/api/v1/admin/tenants", headers=platform) as answer:
            return {"T": (await answer.json())["items"][0]["id"]}


async def a_signed_webhook(running: Site) -> Mapping[str, str]:
    trigger = {"key": "hook", "type": "webhook", "config": {"auth": {"type": "hmac"}}}
    log = {"key": "note", "type": "log", "config": {"message": "called"}}
    made = await running.tenant.make("/workflows", {"name": "called", "triggers": [trigger], "actions": [log]})
    return {"BODY": '{"paid": true}', "URL": made["triggers"][0]["url"], "SECRET": made["triggers"][0]["secret"]}


PAGES: Mapping[str, Variables] = {
    "README.md": nothing, "docs/api.md": nothing, "docs/install.md": nothing, "docs/tenants.md": a_token,
    "docs/limits.md": its_id, "docs/webhooks.md": a_signed_webhook,
}  # fmt: skip


def test_every_fence_is_of_a_kind_that_is_known() -> None:
    found = {(page, fence.kind) for page in pages() for fence in all_fences(text_of(page))}
    assert {(page, kind) for page, kind in found if kind not in KINDS} == set()


def test_every_page_with_commands_is_executed() -> None:
    with_commands = {page for page in pages() if fences(text_of(page), "sh") and not page.startswith(LOOKED_AT)}
    assert with_commands == {*PAGES, *OWN_TEST}
    assert all(page in (Path(__file__).parent / name).read_text() for page, name in OWN_TEST.items())


def test_what_is_not_executed_could_not_be() -> None:
    for page in pages():
        for block in fences(text_of(page), "sh no-run"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                assert not words or words[0] in NOT_HERE, (page, line)


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    links = [(page, link) for page in pages() for link in re.findall(r"\]\(([^)#\s]+)", text_of(page))]
    assert [
        link for page, link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()
    ] == []


def test_the_page_of_settings_is_current() -> None:
    """Otherwise: `python scripts/describe_settings.py`."""
    script = ROOT / "scripts" / "describe_settings.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


async def test_a_call_that_fails_is_noticed_wherever_it_stands(tmp_path: Path) -> None:
    for line in ("curl -s http://127.0.0.1:9/", "X=$(curl -s http://127.0.0.1:9/ | sed s/a/b/)"):
        with pytest.raises(AssertionError, match="before"):
            await goes_through(["echo before", line, "echo after"], {}, tmp_path)


@pytest.mark.parametrize("page", PAGES)
async def test_the_commands_of_a_page_succeed(page: str, database_dsn: str, tmp_path: Path) -> None:
    settings = {
        "SIGNALBOX_JWT_SECRETS": SECRET, "SIGNALBOX_JWT_ISSUER": ISSUER, "SIGNALBOX_JWT_AUDIENCE": AUDIENCE,
    }  # fmt: skip
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".signalbox").mkdir()
    (tmp_path / ".signalbox" / "keys.json").write_text(f'{{"platform_key":"{PLATFORM_KEY}"}}')
    async with site(database_dsn, **settings) as running:
        variables = {
            "B": f"{running.base}/api/v1", "K": running.key, "P": PLATFORM_KEY, "J": "Content-Type: application/json",
            **await PAGES[page](running),
        }  # fmt: skip
        blocks = [addressed(block, {"http://127.0.0.1:8000": running.base}) for block in fences(text_of(page), "sh")]
        printed = await goes_through(blocks, variables, tmp_path)
    assert "urn:signalbox:problem:" not in printed
