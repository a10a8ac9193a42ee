"""docs/cookbook.md, as its reader goes through it: every JSON is the file that it names, every line of shell is
executed, by a shell, against running services, a real mail server and a real endpoint. Days pass by `Time`.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.installation import EXAMPLES, Tenant
from tests.e2e.pages import Reader, chapter, fences, reading
from tests.e2e.passing_time import Site, site
from tests.integration.actions.conftest import Vendor, serving
from tests.integration.actions.mail_server import MailBox, serving_mail
from tests.waiting import until

PAGE = "docs/cookbook.md"
NEW_YORK = ZoneInfo("America/New_York")


def shell(title: str) -> list[str]:
    """What the chapter has to be typed, in order."""
    return fences(chapter(PAGE, title), "sh")


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that the page speaks of."""

    site: Site
    reader: Reader
    mail: MailBox
    endpoint: Vendor

    @property
    def tenant(self) -> Tenant:
        return self.site.tenant

    async def run(self, execution_id: str, status: str = "completed") -> Any:
        """The execution, once it has that status."""
        run: Any = None

        async def has_it() -> bool:
            nonlocal run
            _, run = await self.tenant.call("GET", f"/executions/{execution_id}")
            assert run["finished_at"] is None or run["status"] == status, run["error"]
            return run["status"] == status

        await until(has_it)
        return run

    async def later(self, instant: str, seconds: float = 0) -> None:
        """So many seconds after that instant it is now."""
        await self.site.time.passes_until(datetime.fromisoformat(instant) + timedelta(seconds=seconds))


@pytest.fixture
async def desk(database_dsn: str) -> AsyncIterator[Desk]:
    async with serving_mail() as mail, serving() as endpoint:
        settings = {
            "SIGNALBOX_SMTP_URL": f"smtp+plain://127.0.0.1:{mail.port}",
            "SIGNALBOX_EGRESS_ALLOW": "127.0.0.1/32",
        }
        async with site(database_dsn, **settings) as running:
            addresses = {"http://127.0.0.1:8000": running.base, "http://127.0.0.1:9900": endpoint.url}
            async with reading({"K": running.key}, addresses) as reader:
                await reader.types(shell("")[0])
                yield Desk(running, reader, mail, endpoint)


def attempts(run: Any, key: str) -> list[tuple[int, str]]:
    return [(action["attempt"], action["status"]) for action in run["actions"] if action["key"] == key]


def test_the_page_shows_the_examples_as_they_are() -> None:
    for title, name in (("Stripe", "stripe-payment"), ("at nine", "daily-report"), ("deal", "deal-follow-up")):
        assert fences(chapter(PAGE, title), "json") == [(EXAMPLES / f"{name}.json").read_text()]


async def test_a_payment_is_recorded_and_the_customer_mailed_once_the_mail_server_is_back(desk: Desk) -> None:
    store, pay, look = shell("Stripe")
    desk.mail.replies["DATA"] = "451 come back later"
    await desk.reader.types(store)
    answer = await desk.reader.sees(pay)
    waiting = await desk.run(answer["execution_id"], "waiting")
    (record,) = (await desk.reader.sees(look))["items"]
    assert record["data"] == {"session": "cs_test_a1", "amount": 120.5, "currency": "EUR", "email": "ada@example.com"}
    desk.mail.replies.clear()
    await desk.later(waiting["wake_at"])
    run = await desk.run(answer["execution_id"])
    assert (attempts(run, "payment"), attempts(run, "receipt")) == (
        [(1, "completed")], [(1, "failed"), (2, "completed")],
    )  # fmt: skip
    mail = desk.mail.the_mail()
    assert (mail.recipients, mail.message["Subject"]) == (["ada@example.com"], "Your payment of 120.5 EUR")
    assert mail.message.get_content().startswith("Dear Ada,")

    again = await desk.reader.sees(pay)
    assert again["execution_id"] == answer["execution_id"]
    assert len((await desk.reader.sees(look))["items"]) == len(desk.mail.mails) == 1


async def test_a_report_goes_out_at_nine_in_new_york_though_endpoint_and_mail_server_fail_first(desk: Desk) -> None:
    store, run_now, look = shell("at nine")
    desk.endpoint.answers(200, b"{}", Content_Type="application/json")
    await desk.reader.types(store)
    slots = [slot["utc"] for slot in json.loads((await desk.reader.types(run_now)).splitlines()[-1])["items"]]
    assert [datetime.fromisoformat(slot).astimezone(NEW_YORK).strftime("%H:%M") for slot in slots] == ["09:00"] * 3
    assert {datetime.fromisoformat(slot).astimezone(NEW_YORK).weekday() for slot in slots} <= {0, 1, 2, 3, 4}
    by_hand = await desk.run((await desk.reader.sees(look))["id"])
    assert by_hand["output"]["total"] == 1500
    desk.endpoint.calls.clear()
    desk.mail.mails.clear()

    desk.endpoint.answers(503)
    desk.mail.replies["DATA"] = "451 come back later"
    await desk.later(slots[0], -1)
    scheduled = await next_run(desk, by_hand["workflow_id"], "schedule")
    waiting = await desk.run(scheduled, "waiting")
    assert waiting["input"]["scheduled_for"] == slots[0]
    desk.endpoint.answers(200, b"{}", Content_Type="application/json")
    await desk.later(waiting["wake_at"])
    await until(lambda: tried(desk, scheduled, "mail"))
    waiting = await desk.run(scheduled, "waiting")
    desk.mail.replies.clear()
    await desk.later(waiting["wake_at"])
    run = await desk.run(scheduled)
    for key in ("post", "mail"):
        assert attempts(run, key) == [(1, "failed"), (2, "completed")]
    day = datetime.fromisoformat(slots[0]).astimezone(NEW_YORK).strftime("%A, %d %B %Y")
    first, second = desk.endpoint.calls
    assert json.loads(first.body) == json.loads(second.body) == {"day": day, "deals": 2, "total": 1500}
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    mail = desk.mail.the_mail()
    assert (mail.recipients, mail.message["Subject"]) == (["sales@acme.example"], f"2 open deals on {day}")
    assert mail.message.get_content().splitlines()[:2] == ["Boat: 1200", "Bicycle: 300"]
    _, workflow = await desk.tenant.call("GET", f"/workflows/{run['workflow_id']}")
    assert workflow["triggers"][0]["next_run_at"] == slots[1]


async def test_a_deal_becomes_a_task_after_three_days_and_not_before(desk: Desk) -> None:
    store, look, look_later = shell("deal is created")
    before = desk.site.time.now()
    await desk.reader.types(store)
    (run,) = (await desk.reader.sees(look))["items"]
    waiting = await desk.run(run["id"], "waiting")
    assert before + timedelta(days=3) <= datetime.fromisoformat(waiting["wake_at"])

    await desk.later(waiting["wake_at"], -60)
    other = await desk.tenant.make("/collections/deals/records", {"data": {"title": "Another"}})
    newest = await next_run(desk, run["workflow_id"], "event", but=run["id"])
    newer = await desk.run(newest, "waiting")
    assert newer["input"]["data"]["record"]["id"] == other["id"]
    assert (await desk.run(run["id"], "waiting"))["actions"][-1]["key"] == "later"
    assert (await desk.reader.sees(look_later))["items"] == []

    await desk.later(waiting["wake_at"])
    done = await desk.run(run["id"])
    (task,) = (await desk.reader.sees(look_later))["items"]
    assert (task["data"]["title"], task["data"]["assignee"]) == ("Call about Sailing boat", "grace")
    due = datetime.fromisoformat(task["data"]["due_date"])
    assert timedelta() <= due - datetime.fromisoformat(waiting["wake_at"]) - timedelta(days=1) < timedelta(minutes=1)
    assert done["output"] == {"task": task["id"]}
    await desk.run(newest, "waiting")


async def next_run(desk: Desk, workflow_id: str, trigger_type: str, but: str = "") -> str:
    """The id of the one execution by that trigger, but for one that is known, once it is there."""
    found: list[str] = []

    async def is_there() -> bool:
        path = f"/executions?workflow_id={workflow_id}&trigger_type={trigger_type}"
        found[:] = [run["id"] for run in (await desk.tenant.call("GET", path))[1]["items"] if run["id"] != but]
        return bool(found)

    await until(is_there)
    (one,) = found
    return one


async def tried(desk: Desk, execution_id: str, key: str) -> bool:
    """Whether an attempt of that action has failed."""
    _, run = await desk.tenant.call("GET", f"/executions/{execution_id}")
    return (1, "failed") in attempts(run, key)
