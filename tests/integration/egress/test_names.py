"""What is connected to is what was checked: names that lead inside, change their mind, or are numbers in disguise."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from libs.common.security.egress import EgressPolicy, guarded_session
from libs.common.security.http_client import send
from tests.integration.egress.conftest import THIS_ADDRESS, Site, failure, raw_answer, request, serving
from tests.servers import free_port

Answers = dict[str, list[list[str]]]
"""What the name server says: for every name the addresses of its first answer, its second … and all later ones."""


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Names that only the test knows, asked for where the operating system would ask a name server."""
    answers: Answers = {}
    real: Callable[..., Any] = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host not in answers:
            return real(host, port, *rest, **more)
        known = answers[host]
        addresses = known.pop(0) if len(known) > 1 else known[0]
        return [entry for address in addresses for entry in real(address, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


class Neighbours:
    """One port on several addresses of this machine: `reached` tells which were connected to."""

    def __init__(self) -> None:
        self.port, self.reached = free_port(), list[str]()

    async def answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.append(writer.get_extra_info("sockname")[0])
        writer.write(raw_answer(b"ok"))
        await writer.drain()

    def url(self, name: str) -> str:
        return f"http://{name}:{self.port}/"


@pytest.fixture
async def neighbours() -> AsyncIterator[Neighbours]:
    made = Neighbours()
    hosts = ["127.0.0.1", "127.0.0.2", *(["::1"] if speaks_ipv6() else [])]
    async with serving(made.answer, hosts, made.port):
        yield made


def speaks_ipv6() -> bool:
    """Many containers do not."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "127.1", "0", "0.0.0.0",
     "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]",
     "[2002:7f00:1::]", "127.0.0.1.", "LOCALHOST", "①②⑦.0.0.1", "127。0。0。1", "[::1%25lo]", "[::127.0.0.1]"],
)  # fmt: skip
async def test_no_spelling_of_loopback_is_reached(strict: aiohttp.ClientSession, site: Site, host: str) -> None:
    failed = await failure(strict, request(f"http://{host}:{site.port}/json"))
    assert failed.error_class in ("blocked", "connection", "invalid_request")
    assert site.seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "0x7f.1", "169.254.169.254", "10.0.0.1"])
async def test_a_refusal_is_told_from_a_broken_line(strict: aiohttp.ClientSession, host: str) -> None:
    failed = await failure(strict, request(f"http://{host}/"))
    assert (failed.error_class, failed.detail) == ("blocked", "The destination is not allowed.")


@pytest.mark.parametrize(
    "addresses", [["10.9.8.7"], ["10.9.8.7", "192.168.1.1"], ["::1", "127.0.0.1"], ["fd00::1", "10.9.8.7", "10.9.8.6"]]
)
async def test_a_name_that_leads_inside_is_refused(
    strict: aiohttp.ClientSession, names: Answers, addresses: list[str]
) -> None:
    names["inside.test"] = [addresses]
    failed = await failure(strict, request("http://inside.test/"))
    assert (failed.error_class, failed.detail) == ("blocked", "The destination is not allowed.")


@pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.1"]])
async def test_of_several_addresses_only_the_open_one_is_used(
    session: aiohttp.ClientSession, names: Answers, neighbours: Neighbours, addresses: list[str]
) -> None:
    names["mixed.test"] = [addresses]
    assert (await send(session, request(neighbours.url("mixed.test")))).body == "ok"
    assert neighbours.reached == ["127.0.0.1"]


async def test_the_second_answer_of_a_name_does_not_replace_the_checked_one(
    session: aiohttp.ClientSession, names: Answers, neighbours: Neighbours
) -> None:
    names["rebound.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    assert (await send(session, request(neighbours.url("rebound.test")))).body == "ok"
    assert neighbours.reached == ["127.0.0.1"]


async def test_a_name_that_moved_inside_is_refused_when_it_is_asked_again(
    names: Answers, neighbours: Neighbours
) -> None:
    names["moving.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    found: list[str] = []
    for _ in range(2):  # a session of its own each time: the old answer is remembered by neither
        async with guarded_session(EgressPolicy(THIS_ADDRESS)) as session:
            wanted = request(neighbours.url("moving.test"))
            if not found:
                found.append((await send(session, wanted)).body)
            else:
                found.append((await failure(session, wanted)).error_class)
    assert (found, neighbours.reached) == (["ok", "blocked"], ["127.0.0.1"])


async def test_a_redirect_to_a_name_that_leads_inside_is_refused(
    session: aiohttp.ClientSession, names: Answers, neighbours: Neighbours, site: Site
) -> None:
    names["inside.test"] = [["127.0.0.2"]]
    url = site.url(f"/redirect?to={neighbours.url('inside.test')}")
    assert (await failure(session, request(url, follow_redirects=True))).error_class == "blocked"
    assert neighbours.reached == []


async def test_an_unknown_name_is_a_connection_error(session: aiohttp.ClientSession, names: Answers) -> None:
    failed = await failure(session, request("http://nobody.invalid/"))
    assert (failed.error_class, failed.detail) == ("connection", "cannot connect to nobody.invalid")
