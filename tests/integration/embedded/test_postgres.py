"""The private PostgreSQL: data outlives every way of stopping, one process at a time, never as root."""

import os
import pwd
import re
import signal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from libs.common.embedded.account import Account
from libs.common.errors import OperatorError
from tests.integration.embedded.conftest import Holder, OpenHolder, Servers, gone, owner_of
from tests.servers import free_port
from tests.waiting import patience

ME = Account(os.geteuid(), os.getegid())


async def remember(dsn: str, text: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE IF NOT EXISTS notes (text text)")
    await connection.execute("INSERT INTO notes VALUES ($1)", text)
    await connection.close()


async def remembered(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT text FROM notes ORDER BY text")
    await connection.close()
    return [row["text"] for row in rows]


async def test_data_is_kept_over_a_restart_and_the_address_too(tmp_path: Path, servers: Servers) -> None:
    server = servers.postgres(tmp_path)
    dsn = await server.start()
    await remember(dsn, "kept")
    await server.stop()
    assert server.pid is None
    assert await server.start() == dsn
    assert await remembered(dsn) == ["kept"]


async def test_data_is_kept_when_the_server_is_killed(tmp_path: Path, servers: Servers) -> None:
    server = servers.postgres(tmp_path)
    dsn = await server.start()
    await remember(dsn, "kept")
    busy = await asyncpg.connect(dsn)  # its session may live on for a moment
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await server.stop()
    dsn = await server.start()
    assert await remembered(dsn) == ["kept"]
    busy.terminate()


async def test_killing_the_holder_ends_its_servers_and_keeps_the_data(
    tmp_path: Path, servers: Servers, hold: OpenHolder
) -> None:
    holder = await hold(tmp_path / "data", ME)
    await remember(holder.dsn, "kept")
    await holder.process.stop()  # by SIGKILL
    server = servers.postgres(tmp_path / "data")
    dsn = await server.start()  # at once: the old server may still be on its way out
    assert await remembered(dsn) == ["kept"]
    async with patience():
        await gone(holder.postgres)
        await gone(holder.valkey)


async def test_a_second_start_is_refused_in_one_line_and_harms_nothing(
    tmp_path: Path, servers: Servers, hold: OpenHolder
) -> None:
    holder = await hold(tmp_path / "data", ME)
    second = servers.postgres(tmp_path / "data")
    with pytest.raises(OperatorError) as refused:
        await second.start()
    assert refused.value.detail == f"{tmp_path / 'data'} is in use by process {holder.process.pid}."
    await second.stop()
    await remember(holder.dsn, "still there")
    await end(holder)
    dsn = await second.start()
    assert await remembered(dsn) == ["still there"]


async def end(holder: Holder) -> None:
    await holder.process.stop((signal.SIGTERM, 30))


async def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(tmp_path: Path, servers: Servers) -> None:
    server = servers.postgres(tmp_path)
    await server.start()
    await server.stop()
    cluster = tmp_path / "postgres" / "cluster"
    pid_file = cluster / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{cluster}\n")
    os.chown(pid_file, cluster.stat().st_uid, -1)
    await server.start()


async def test_what_a_crash_left_of_a_first_start_is_made_anew(tmp_path: Path, servers: Servers) -> None:
    draft = tmp_path / "postgres" / "cluster.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    server = servers.postgres(tmp_path)
    await server.start()
    await server.stop()
    assert not draft.exists()


async def test_an_ordinary_user_can_run_it(tmp_path: Path, servers: Servers, hold: OpenHolder) -> None:
    account = ME
    if ME.uid == 0:
        nobody = pwd.getpwnam("nobody")
        account = Account(nobody.pw_uid, nobody.pw_gid)
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, account.uid, account.gid)
    holder = await hold(folder, account)
    assert owner_of(holder.postgres) == owner_of(holder.valkey) == owner_of(holder.process.pid) == account.uid != 0
    await end(holder)
    server = servers.postgres(folder)  # and root, if that is who tests, goes on with it as that user
    await server.start()
    assert server.pid is not None
    assert owner_of(server.pid) == account.uid


async def test_root_never_runs_it_as_root_and_nobody_else_reads_its_files(tmp_path: Path, servers: Servers) -> None:
    server = servers.postgres(tmp_path)
    dsn = await server.start()
    assert server.pid is not None
    assert owner_of(server.pid) != 0
    folder = tmp_path / "postgres"
    modes = {name: (folder / name).stat().st_mode & 0o777 for name in ("password", "cluster", "lock")}
    assert modes == {"password": 0o600, "cluster": 0o700, "lock": 0o600}
    sockets = Path(parse_qs(urlsplit(dsn).query)["host"][0])
    assert sockets.stat().st_mode & 0o777 == 0o700


async def test_clients_are_no_superusers_and_need_the_password(tmp_path: Path, servers: Servers) -> None:
    server = servers.postgres(tmp_path)
    dsn = await server.start()
    connection = await asyncpg.connect(dsn)
    role = await connection.fetchrow("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user")
    assert role is not None
    assert tuple(role) == (False, True)
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(re.sub(":[0-9a-f]+@", ":wrong@", dsn))


async def test_a_path_too_long_for_a_socket_works(tmp_path: Path, servers: Servers) -> None:
    server = servers.postgres(tmp_path / ("long" * 20) / "data")
    await remember(await server.start(), "kept")


async def test_a_port_is_served_on_loopback_when_asked_for(tmp_path: Path, servers: Servers) -> None:
    port = free_port()
    server = servers.postgres(tmp_path, port)
    dsn = await server.start()
    connection = await asyncpg.connect(dsn, host="127.0.0.1", port=port)
    assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    await connection.close()


async def test_a_data_folder_that_is_a_file_is_refused_in_one_line(tmp_path: Path, servers: Servers) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match=r"^\S+/file/postgres can't be used: Not a directory\.$"):
        await servers.postgres(tmp_path / "file").start()


async def test_a_server_that_does_not_come_up_says_why(tmp_path: Path, servers: Servers) -> None:
    server = servers.postgres(tmp_path, shared_buffers="much")
    with pytest.raises(OperatorError, match="invalid value for parameter"):
        await server.start()
    assert server.pid is None
    await servers.postgres(tmp_path).start()
