"""What the tests and the benchmarks run beside themselves: a private RabbitMQ node and the services as processes.

Every class starts real processes on ports of its own (of the loopback interface, unless told otherwise), touches
nothing else of the machine, and says with the end of a log why something did not come up.
PostgreSQL and Valkey are `libs.common.embedded`.
"""

import asyncio
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp

from libs.common.embedded.process import ChildProcess

ROOT = Path(__file__).resolve().parent.parent
MARK = "SIGNALBOX_TEST_RUN"
"""An environment variable that every process started by a test run inherits, so that one left behind is found."""

LOOPBACK = "127.0.0.1"

_PORTS = range(20_000, 32_000)
"""Below what Linux gives to outgoing connections, so that a port stays free while its server is down."""
_BLOCK = 100

_PROGRAMS = ("/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/local/sbin")
"""Where the real programs may be. Not Debian's /usr/sbin: those insist on running as the user rabbitmq."""

_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
_RABBITMQ_START_SECONDS = 60.0
_SERVICE_START_SECONDS = 60.0


def _claimed_ports() -> Iterator[int]:
    """Ports that no other process gets from here: a block of them is for the one that has bound the first of them for
    datagrams, as long as it lives. (Chosen by chance alone, two choose the same one day: seconds lie between choosing
    and listening.)
    """
    for first in random.SystemRandom().sample(_PORTS[::_BLOCK], len(_PORTS) // _BLOCK):
        claim = socket.socket(type=socket.SOCK_DGRAM)
        if _is_bound(claim, first):
            claim.detach()  # open as long as this process lives
            yield from range(first, first + _BLOCK)
        claim.close()


_claimed = _claimed_ports()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on, and that is given once."""
    for port in _claimed:
        with socket.socket() as probe:
            if _is_bound(probe, port):
                return port
    raise OSError("All ports for tests are taken.")


def _is_bound(made: socket.socket, port: int) -> bool:
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def find_rabbitmq() -> Path | None:
    """The folder of RabbitMQ's programs; None when it is not installed."""
    return next((folder for name in _PROGRAMS if ((folder := Path(name)) / "rabbitmq-server").exists()), None)


class RabbitMQ:
    """A node with its own name, ports, port mapper and data; it starts again at its address, even wiped."""

    def __init__(self, folder: Path, *, with_metrics: bool = False, host: str = LOOPBACK) -> None:
        """`folder` takes data and logs; `with_metrics`: its plugin for Prometheus is on; `host`: the address that
        clients find it at. Nothing runs yet.
        """
        self._folder, self._host = folder, host
        self.metrics_port = free_port() if with_metrics else None
        self._port, self._epmd_port, self._distribution_port = free_port(), free_port(), free_port()
        self._epmd: ChildProcess | None = None
        self._node: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Its address, for an administrator of the default virtual host."""
        return f"amqp://signalbox:signalbox@{self._host}:{self._port}/"

    @property
    def data(self) -> Path:
        """The folder that holds everything it has stored."""
        return self._folder / "mnesia"

    @property
    def pid(self) -> int:
        """The process id of the node."""
        assert self._node is not None
        return self._node.pid

    async def start(self) -> None:
        """Start it and wait until it takes connections."""
        self.launch()
        await self.ready()

    def launch(self) -> None:
        """Start it without waiting. Call this from the main thread: the node dies with the thread that started it."""
        programs = find_rabbitmq()
        if programs is None:
            raise FileNotFoundError("RabbitMQ is not installed: apt-get install rabbitmq-server")
        environment = self._environment()
        if self._epmd is None:
            epmd = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = ChildProcess("epmd", epmd, log=self._folder / "epmd.log", env=environment)
            self._epmd.start()
        server = [str(programs / "rabbitmq-server")]
        self._node = ChildProcess("RabbitMQ", server, log=self._folder / "rabbitmq.log", env=environment)
        self._node.start()

    async def ready(self) -> None:
        """Return once it takes connections."""
        assert self._node is not None
        await self._node.wait_ready(self._greets, _RABBITMQ_START_SECONDS)

    async def stop(self) -> None:
        """Stop it as an operator would; its data stays."""
        if self._node is not None:
            await self._node.stop((signal.SIGTERM, 30.0))

    async def kill(self) -> None:
        """End it with SIGKILL; its data stays."""
        if self._node is not None:
            await self._node.stop()

    def wipe(self) -> None:
        """Throw its data away. It must not run."""
        assert self._node is None or not self._node.alive
        shutil.rmtree(self.data, ignore_errors=True)

    async def close(self) -> None:
        """End everything that belongs to it."""
        await self.kill()
        if self._epmd is not None:
            await self._epmd.stop()
            self._epmd = None

    async def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on it; returns what it prints. Takes about a second."""
        programs = find_rabbitmq()
        assert programs is not None
        process = await asyncio.create_subprocess_exec(
            str(programs / "rabbitmqctl"),
            *arguments,
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def _greets(self) -> bool:
        """It opens its port last of all; one that answers the greeting of AMQP is ready."""
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            return False
        try:
            writer.write(_AMQP_GREETING)
            return await reader.read(1) == b"\x01"
        except OSError:
            return False
        finally:
            writer.close()

    def _environment(self) -> dict[str, str]:
        configuration = self._folder / "rabbitmq.conf"
        if not configuration.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "plugins").write_text("[rabbitmq_prometheus].\n" if self.metrics_port else "[].\n")
            configuration.write_text(
                f"listeners.tcp.default = {self._host}:{self._port}\n"
                "default_user = signalbox\ndefault_pass = signalbox\ndefault_user_tags.administrator = true\n"
                "log.console = true\nlog.console.level = warning\nlog.file = false\n"
                + (
                    f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {self.metrics_port}\n"
                    * bool(self.metrics_port)
                )
            )
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", MARK) if name in os.environ}
        return inherited | {
            "HOME": str(self._folder),  # of the Erlang cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"signalbox{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "NOTIFY_SOCKET": str(self._folder / "none"),  # makes its script become the node instead of a parent of it
        }


class ServiceProcess:
    """`signalbox NAME` as a process of its own; can be killed and started again on the same port."""

    def __init__(
        self,
        name: str,
        env: Mapping[str, str],
        folder: Path,
        args: Sequence[str] = (),
        port: int | None = None,
        *,
        code: Path = ROOT,
        within: Sequence[str] = (),
    ) -> None:
        """`env`: its SIGNALBOX_… settings, all of them; `folder`: where `NAME-PORT.log` goes; `args`: further ones;
        `port`: a free one, unless it is told here because something must know it before; `code`: where its `libs` and
        `services` are, which may be those of another release; `within`: the command that runs it, such as nsenter.
        """
        self.name, self.port, self._code = name, port or free_port(), code
        self.log = folder / f"{name}-{self.port}.log"
        foreign = {key: value for key, value in os.environ.items() if not key.startswith("SIGNALBOX_")}
        self._env = {**foreign, **env, MARK: os.environ.get(MARK, ""), "PYTHONPATH": str(code)}
        self._host = env.get("SIGNALBOX_HOST", LOOPBACK)
        self._argv = [*within, sys.executable, "-m", "services.cli", name, "--port", str(self.port), *args]
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Its address, without a final slash."""
        return f"http://{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.alive

    async def start(self) -> None:
        """Start it and wait until `/readyz` answers 200. Call this from the main thread."""
        self.launch()
        await self.ready()

    def launch(self) -> None:
        """Start it without waiting."""
        assert not self.alive
        self._process = ChildProcess(f"signalbox {self.name}", self._argv, log=self.log, env=self._env, cwd=self._code)
        self._process.start()

    async def ready(self) -> None:
        """Return once `/readyz` answers 200."""
        assert self._process is not None
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                try:
                    async with session.get(f"{self.url}/readyz") as response:
                        return response.status == 200
                except aiohttp.ClientError:
                    return False

            await self._process.wait_ready(answers, _SERVICE_START_SECONDS)

    async def stop(self, seconds: float = 30.0) -> int:
        """Ask it to stop (SIGTERM), wait until it has; returns its exit status. After `seconds` it is killed (status
        -9).
        """
        assert self._process is not None
        await self._process.stop((signal.SIGTERM, seconds))
        return await self._process.wait(0.1)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            await self._process.stop()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send(number)

    def resident_mb(self) -> float:
        """Its resident memory, in MB of 1024² bytes."""
        return resident_mb(self.pid)


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB of 1024² bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def left_running(run: str) -> list[str]:
    """Command lines of living processes that were started by the test run `run`."""
    mark = f"{MARK}={run}".encode()
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # another user's, or gone
            continue
    return found
