"""Another machine, as far as the network is concerned: a namespace of its own, behind a router that loses packets when
it is told to.

    here ── near ─ router ─ far ── there        198.18.x.1  .2 │ .5  .6   (RFC 2544: addresses for tests of networks)

Namespaces and links belong to two processes that do nothing: with them they go.
"""

import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path

from libs.common.embedded.process import ChildProcess
from tests.servers import free_port
from tests.waiting import until

_TESTED = int(IPv4Interface("198.18.0.0/15").ip)
_ADDRESSES = 8
_MACHINES = 16_384
_LINK = "/30"


class FarMachine:
    """`here`: the address of this machine that it reaches, and the network of both; `there`: its own address; `within`:
    the command that runs another one on it.
    """

    def __init__(self, number: int, router: int, machine: int) -> None:
        """`number`: nobody else's among 16 384; `router`, `machine`: the processes that have the namespaces."""
        first = _TESTED + number % _MACHINES * _ADDRESSES
        addresses = [str(IPv4Interface(first + place).ip) for place in range(_ADDRESSES)]
        self.here, self.there = IPv4Interface(f"{addresses[1]}/29"), addresses[6]
        self.within = _in(machine)
        self._router, self._machine, self._addresses = router, machine, addresses

    def lay_cables(self) -> None:
        """Both links, their addresses and the routes. Raises `CalledProcessError` where that is not permitted."""
        link, address = f"sb{self._router}", self._addresses
        router, machine = _in(self._router), self.within
        _run(["ip", "link", "add", link, "type", "veth", "peer", "name", "near", "netns", str(self._router)])
        _run([*router, "ip", "link", "add", "far", "type", "veth", "peer", "name", "eth", "netns", str(self._machine)])
        for run, device, ours in (
            ([], link, address[1]), (router, "near", address[2]),
            (router, "far", address[5]), (machine, "eth", address[6]),
        ):  # fmt: skip
            _run([*run, "ip", "address", "add", ours + _LINK, "dev", device])
            _run([*run, "ip", "link", "set", device, "up"])
        _run([*machine, "ip", "link", "set", "lo", "up"])
        _run([*router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        _run(["ip", "route", "add", address[4] + _LINK, "via", address[2]])
        _run([*machine, "ip", "route", "add", "default", "via", address[5]])

    def cut(self, *, kind: str = "blackhole") -> None:
        """Nothing comes through, and nobody is told (blackhole), or everybody is, by ICMP (unreachable)."""
        self.cut_to(str(self.here.ip), kind=kind)
        self.cut_to(self.there, kind=kind)

    def cut_to(self, address: str, *, kind: str = "blackhole") -> None:
        """Nothing comes to this one of the two addresses."""
        _run([*_in(self._router), "ip", "route", "replace", kind, address])

    def mend(self) -> None:
        """Everything comes through."""
        for address in (str(self.here.ip), self.there):
            for kind in ("blackhole", "unreachable"):
                _run([*_in(self._router), "ip", "route", "del", kind, address], check=False)


@asynccontextmanager
async def far_machine(folder: Path) -> AsyncGenerator[FarMachine]:
    """Raises `PermissionError` where namespaces may not be made. `folder` takes logs."""
    async with AsyncExitStack() as stack:
        processes: list[int] = []
        for name in ("router", "machine"):
            process = ChildProcess(name, ["unshare", "--net", "sleep", "infinity"], log=folder / f"{name}.log")
            process.start()
            stack.push_async_callback(process.stop)
            await until(lambda process=process: _is_apart(process))
            processes.append(process.pid)
        made = FarMachine(free_port(), *processes)
        try:
            made.lay_cables()
        except subprocess.CalledProcessError as error:
            raise PermissionError(error.stderr) from error
        yield made


async def _is_apart(process: ChildProcess) -> bool:
    """Whether it has a network of its own by now. Raises `PermissionError` when it may not."""
    if not process.alive:
        raise PermissionError(process.log_tail())
    return os.readlink(f"/proc/{process.pid}/ns/net") != os.readlink("/proc/self/ns/net")


def _in(process: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{process}/ns/net"]


def _run(command: list[str], *, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True, text=True)
