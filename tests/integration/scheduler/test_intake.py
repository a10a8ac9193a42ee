"""Events from an exchange of the platform: what is raised, what is refused and why, and that nothing runs twice."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.conftest import ADMIN, World
from tests.integration.gateway.test_events import BIG, listener
from tests.integration.scheduler.conftest import metric
from tests.integration.scheduler.exchange import Exchange, until_count
from tests.servers import RabbitMQ
from tests.waiting import until

DEAL = {"type": "deal.won", "data": {"amount": 3}, "id": "evt_1"}


@pytest.fixture
async def exchange(amqp_url: str, acme: World) -> AsyncIterator[Exchange]:
    made = Exchange(amqp_url, acme)
    await made.open()
    yield made
    await made.close()


def counted(outcome: str) -> float:
    return metric("exchange_messages_total", outcome=outcome)


async def until_counted(outcome: str, number: float) -> None:
    async def is_counted() -> bool:
        return counted(outcome) >= number

    await until(is_counted)


async def test_messages_raise_events_like_the_api(exchange: Exchange, acme: World) -> None:
    flow = await acme.made(listener("All", "deal.*"))
    await exchange.intake()
    tenant = (await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'"))[0]["tenant_id"]
    await exchange.publish(DEAL, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    await exchange.publish([{**DEAL, "id": "evt_2"}, {"type": "lead", "id": "evt_3"}], str(tenant).upper())
    await exchange.publish({"tenant_id": "acme", "events": [{"type": "deal.lost"}]}, None, "message-1")
    await until_count(acme, "events", 4)
    events = (await acme.call("GET", "/events")).json()["items"]
    assert {(one["type"], one["source"], one["dedupe_id"], one["started"]) for one in events} == {
        ("deal.won", "bus", "evt_1", 1), ("deal.won", "bus", "evt_2", 1), ("lead", "bus", "evt_3", 0),
        ("deal.lost", "bus", "message-1events[0]", 1),
    }  # fmt: skip
    runs = (await acme.call("GET", "/executions")).json()["items"]
    assert {run["workflow_id"] for run in runs} == {flow["id"]}
    assert "a" * 32 in {run["trace_id"] for run in runs}
    assert await exchange.dead() == 0


async def test_what_comes_again_is_known_by_its_id(exchange: Exchange, acme: World) -> None:
    await acme.made(listener("All", "*"))
    await exchange.intake()
    before = counted("duplicate")
    for _ in range(3):
        await exchange.publish(DEAL)
        await exchange.publish({"type": "lead"}, message_id="m1")

    async def four_came_again() -> bool:
        return counted("duplicate") == before + 4

    await until(four_came_again)
    assert (await acme.count("events"), await acme.count("executions")) == (2, 2)
    assert (await acme.call("POST", "/events", DEAL)).json()["duplicate"]


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (b"{", []),
        (b"3", []),
        (b'{"type": "a", "type": "b", "id": "1"}', []),
        (b"[" * 100, []),
        (b" " * 2_000_000, []),
        ({"type": "deal.*", "id": ""}, ["type: ", "id: "]),
        ({"kind": "deal"}, ["kind: ", "type: "]),
        ({"events": []}, ["events: must be a list"]),
        ({"type": "deal", "id": "1", "data": BIG}, ["data: is larger"]),
        ({"type": "deal", "id": "1", "tenant_id": 3}, ["tenant_id: must be"]),
        ({"type": "deal", "id": "1", "tenant_id": "other"}, ["tenant_id: names another tenant"]),
    ],
)
async def test_what_is_malformed_goes_to_the_dead_letters_with_its_faults_in_the_log(
    exchange: Exchange, acme: World, body: Any, faults: list[str]
) -> None:
    await exchange.intake()
    before = counted("malformed")
    with capture_logs() as lines:
        await exchange.publish(body)
        await until_counted("malformed", before + 1)
        await until(lambda: exchange.has_dead(1))
    (line,) = [line for line in lines if line["event"] == "event message refused"]
    assert (line["check"], len(line["faults"])) == ("malformed", len(faults))
    assert all(said.startswith(fault) for said, fault in zip(line["faults"], faults, strict=True))
    assert counted("malformed") == before + 1
    assert (await acme.count("events"), await acme.count("event_ids")) == (0, 0)


async def test_without_any_id_it_is_refused(exchange: Exchange, acme: World, rabbitmq: RabbitMQ) -> None:
    """Most clients give every message an id; this one is published from within the broker."""
    await exchange.intake()
    before = counted("malformed")
    place = f'rabbit_misc:r(<<"/">>, exchange, <<"{exchange.name}">>)'
    headers = '[{headers, [{<<"X-Tenant-ID">>, longstr, <<"acme">>}]}]'
    with capture_logs() as lines:
        body = '[{"type": "deal", "id": "1"}, {"type": "deal"}]'.replace('"', '\\"')
        await rabbitmq.control("eval", f'rabbit_basic:publish({place}, <<"k">>, {headers}, <<"{body}">>).')
        await until_counted("malformed", before + 1)
    (line,) = [line for line in lines if line["event"] == "event message refused"]
    assert line["faults"] == [
        "[1].id: is required, here or as the message's message_id: a message may come twice"
    ]  # fmt: skip
    assert await acme.count("events") == 0


@pytest.mark.parametrize(
    ("tenant", "check"),
    [(None, "malformed"), ("nobody", "unknown_tenant"), ("00000000-0000-7000-8000-000000000000", "unknown_tenant"),
     ("other", "suspended_tenant"), ("a\0b", "malformed")],
)  # fmt: skip
async def test_only_for_tenants_that_are_there_and_active(
    exchange: Exchange, acme: World, tenant: str | None, check: str
) -> None:
    (row,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'other'")
    path = f"/api/v1/admin/tenants/{row['tenant_id']}/suspend"
    assert (await acme.client.post(path, headers=ADMIN)).status_code == 200
    await exchange.intake()
    before = counted(check)
    with capture_logs() as lines:
        await exchange.publish(DEAL, tenant)
        await until_counted(check, before + 1)
        await until(lambda: exchange.has_dead(1))
    (line,) = [line for line in lines if line["event"] == "event message refused"]
    assert (line["check"], counted(check), await acme.count("events")) == (check, before + 1, 0)


async def test_an_id_of_another_event_is_refused_and_takes_nobody_with_it(exchange: Exchange, acme: World) -> None:
    """They share commits; every tenth has the id of another event."""
    await acme.made(listener("All", "*"))
    await exchange.publish_later([{"type": f"e{n}", "id": f"{n % 10 and n}"} for n in range(60)])
    before = counted("id_taken")
    await exchange.intake()
    await until_count(acme, "executions", 55)
    await until(lambda: exchange.has_dead(5))
    assert counted("id_taken") == before + 5
    rows = await acme.fetch("SELECT dedupe_id, count(*) AS times FROM events GROUP BY 1")
    assert {row["dedupe_id"]: row["times"] for row in rows} == {f"{n % 10 and n}": 1 for n in range(60)}


async def test_it_is_off_without_an_exchange_and_with_the_bus_in_memory(exchange: Exchange, acme: World) -> None:
    with capture_logs() as lines:
        for name in ("", "platform"):
            intake = exchange.made(events_exchange=name)
            intake.start()
            await intake.stop(1)
    assert [line["event"] for line in lines] == ["events exchange not used: the bus is in memory"]
