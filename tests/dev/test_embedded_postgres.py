"""The embedded Postgres against the real programs: nothing here is faked."""

import os
import socket
import stat
import time
from pathlib import Path

import asyncpg
import pytest
import structlog
from dev.servers import fetch, linux_only, proc

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError


async def test_first_start_makes_a_database_that_the_dsn_reaches(folder: Path) -> None:
    """The first start makes the folder, the cluster and the database, in UTF-8, with checksums and durable commits."""
    with EmbeddedPostgres(folder / "a" / "b") as server:
        assert await fetch(server.dsn, "SELECT current_database() || ' ' || current_user") == "clerksync clerksync"
        query = "SELECT encoding = pg_char_to_encoding('UTF8') FROM pg_database WHERE datname = 'clerksync'"
        assert await fetch(server.dsn, query)
        assert await fetch(server.dsn, "SHOW data_checksums") == "on"
        assert await fetch(server.dsn, "SHOW fsync") == "on"
        assert await fetch(server.dsn, "SHOW full_page_writes") == "on"
        # Code points decide, whatever the machine's language is.
        assert await fetch(server.dsn, "SELECT 'Z' < 'a' AND 'z' < 'ä' AND upper('ä') = 'Ä'")


async def test_data_and_port_survive_a_restart(folder: Path) -> None:
    """What was committed is there after stop and start, under the same DSN."""
    with EmbeddedPostgres(folder) as server:
        first = server.dsn
        await fetch(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(folder) as server:
        assert server.dsn == first
        assert await fetch(server.dsn, "SELECT answer FROM kept") == 42


async def test_stop_is_orderly_quick_and_idempotent(folder: Path) -> None:
    """A stop with a client connected takes well under a second, leaves nothing running, and may be repeated."""
    server = EmbeddedPostgres(folder)
    connection = await asyncpg.connect(server.start())
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 1
    assert server.pid is None
    assert not (folder / "cluster" / "postmaster.pid").exists()
    assert "database system is shut down" in (folder / "server.log").read_text()
    server.stop()
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        _ = server.dsn
    connection.terminate()


def test_start_again_on_a_running_server_changes_nothing(folder: Path) -> None:
    """A second start of the same object answers with the DSN of the running server."""
    with EmbeddedPostgres(folder) as server:
        pid = server.pid
        assert server.start() == server.dsn
        assert server.pid == pid


async def test_a_wrong_password_is_refused(folder: Path) -> None:
    """The server asks for the password, which lies in a file that only its owner reads and is never logged."""
    with structlog.testing.capture_logs() as logs, EmbeddedPostgres(folder) as server:
        password = (folder / "password").read_text()
        assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            await fetch(server.dsn.replace(password, "wrong"), "SELECT 1")
    assert password not in str(logs)
    assert password not in (folder / "server.log").read_text()


@linux_only
def test_only_the_loopback_interface_is_listened_on(folder: Path) -> None:
    """The server has one listening socket, on 127.0.0.1, and no socket file."""
    with EmbeddedPostgres(folder) as server:
        sockets = {str(entry.readlink()) for entry in proc(server, "fd").iterdir()}
        listening = []
        for table in ("tcp", "tcp6", "unix"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                inode, local = (fields[9], fields[1]) if table != "unix" else (fields[6], fields[-1])
                if f"socket:[{inode}]" in sockets:
                    listening.append((table, local.split(":")[0]))
        assert listening == [("tcp", "0100007F")]


@linux_only
async def test_the_callers_environment_does_not_reach_the_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PG* variables of the caller neither misdirect initdb and postgres nor show up in the server's environment."""
    for name in ("PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGTZ", "PGCLIENTENCODING"):
        monkeypatch.setenv(name, "/nonsense")
    monkeypatch.setenv("CLERK_WEBHOOK_SECRET", "whsec_sesame")
    with EmbeddedPostgres(folder) as server:
        environment = proc(server, "environ").read_bytes().decode().split("\0")
        names = {entry.partition("=")[0] for entry in environment if entry}
        assert names <= {"PATH", "LD_LIBRARY_PATH", "HOME", "LC_ALL", "TZ"}
        assert f"HOME={folder}" in environment
        for name in list(os.environ):
            if name.startswith("PG"):
                monkeypatch.delenv(name)
        assert await fetch(server.dsn, "SELECT 1") == 1


def test_a_given_port_that_is_taken_is_refused(folder: Path) -> None:
    """A port that was asked for is never silently replaced: the error names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedPostgresError, match=f"Port {port} of 127.0.0.1 is taken"):
            EmbeddedPostgres(folder, port=port).start()
    with EmbeddedPostgres(folder, port=port) as server:
        assert f":{port}/" in server.dsn


def test_a_remembered_port_that_is_taken_is_replaced(folder: Path) -> None:
    """When another program has the port of the last run, the server takes a free one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (folder / "port").write_text(str(port))
        with EmbeddedPostgres(folder) as server:
            assert f":{port}/" not in server.dsn


async def test_settings_reach_the_server(folder: Path) -> None:
    """Server settings can be given, except those that decide who can reach it."""
    with EmbeddedPostgres(folder, settings={"max_connections": "37"}) as server:
        assert await fetch(server.dsn, "SHOW max_connections") == "37"
    with pytest.raises(ValueError, match="listen_addresses"):
        EmbeddedPostgres(folder, settings={"listen_addresses": "*"})


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    """The error of a failed start holds what the server itself said, and the folder is free again."""
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres(folder, settings={"no_such_setting": "1"}).start()
    with EmbeddedPostgres(folder, lock_wait_s=0):
        pass


def test_a_folder_without_programs_is_refused(folder: Path) -> None:
    """A given folder that holds no Postgres programs is named in the error."""
    with pytest.raises(EmbeddedPostgresError, match=f"{folder} holds no initdb and postgres"):
        EmbeddedPostgres(folder / "data", binaries=folder).start()


def test_a_cluster_of_another_version_is_refused(folder: Path) -> None:
    """Data that another major version wrote is left alone, and the error says what can be done."""
    with EmbeddedPostgres(folder):
        pass
    (folder / "cluster" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by Postgres 9 .*remove .* to start afresh"):
        EmbeddedPostgres(folder).start()
