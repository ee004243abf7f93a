"""What the embedded Postgres leaves and finds when processes are really killed: its parent, itself, initdb."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from dev.servers import becoming, fetch, linux_only, proc, processes_in, said_dsn, wait_until

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres, running_dsn
from clerksync_server.dev.postgres_binaries import Account


def unfinished_in(folder: Path) -> list[Path]:
    """The clusters in the making, once initdb is at work in them."""
    return [path.parent for path in folder.glob("unfinished-*/PG_VERSION")]


@linux_only
async def test_a_killed_parent_leaves_no_server_behind(
    folder: Path, spawn_parent: Callable[[Path], subprocess.Popen[str]]
) -> None:
    """When the process that started the server is killed, the server shuts down by itself; its data is kept."""
    parent = spawn_parent(folder)
    await fetch(said_dsn(parent), "CREATE TABLE kept AS SELECT 42 AS answer")
    assert processes_in(folder)
    parent.kill()
    wait_until(lambda: not processes_in(folder), within_s=5)
    with EmbeddedPostgres(folder) as server:
        assert await fetch(server.dsn, "SELECT answer FROM kept") == 42


async def test_a_start_directly_after_the_parent_was_killed(
    folder: Path, spawn_parent: Callable[[Path], subprocess.Popen[str]]
) -> None:
    """A start does not stumble over a server that is still shutting down, with a client that is still connected."""
    parent = spawn_parent(folder)
    connection = await asyncpg.connect(said_dsn(parent))
    await connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 200000) AS answer")
    parent.kill()
    with EmbeddedPostgres(folder) as server:
        assert await fetch(server.dsn, "SELECT max(answer) FROM kept") == 200000
    connection.terminate()


async def test_a_killed_server_recovers_what_was_committed(folder: Path) -> None:
    """After SIGKILL of the server, with a backend left that looks at nothing but its loop, every commit is there."""
    server = EmbeddedPostgres(folder)
    dsn = server.start()
    await fetch(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    busy = await asyncpg.connect(dsn)
    looping = asyncio.ensure_future(busy.execute("DO $$ BEGIN LOOP END LOOP; END $$"))
    await asyncio.sleep(0.1)
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: server.pid is None, within_s=2)
    assert server.start() == dsn
    assert await fetch(dsn, "SELECT answer FROM kept") == 42
    assert "automatic recovery in progress" in (folder / "server.log").read_text()
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await looping
    server.stop()


@linux_only
async def test_a_server_without_its_parent_is_ended_first(
    folder: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """A server that outlived its supervisor (systems without a death signal) is shut down and replaced."""
    with EmbeddedPostgres(folder) as server:
        await fetch(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        program = str(proc(server, "exe").readlink())
    owner = (folder / "cluster").stat()
    port = (folder / "port").read_text()
    command = [program, "-D", str(folder / "cluster"), "-p", port, "-c", "unix_socket_directories="]
    orphan = spawn(*command, cwd="/", **becoming(Account(owner.st_uid, owner.st_gid)))
    status = folder / "cluster" / "postmaster.pid"
    wait_until(lambda: status.exists() and "ready" in status.read_text(), within_s=10)
    with EmbeddedPostgres(folder) as server:
        assert orphan.wait(1) == 0
        assert await fetch(server.dsn, "SELECT answer FROM kept") == 42


@linux_only
def test_a_stale_pid_that_now_is_another_program_does_not_matter(
    folder: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """A postmaster.pid from before a reboot may name any program: that is not touched, and the server starts."""
    with EmbeddedPostgres(folder):
        written = (folder / "cluster" / "postmaster.pid").read_text()
    owner = (folder / "cluster").stat()
    user = becoming(Account(owner.st_uid, owner.st_gid))
    bystander = spawn("sleep", "60", **user)
    stale = folder / "cluster" / "postmaster.pid"
    stale.write_text("\n".join([str(bystander.pid), *written.splitlines()[1:]]) + "\n")
    os.chown(stale, owner.st_uid, owner.st_gid)
    assert running_dsn(folder) is None
    with EmbeddedPostgres(folder):
        assert bystander.poll() is None


async def test_a_half_made_cluster_is_cleaned_up(
    folder: Path, spawn_parent: Callable[[Path], subprocess.Popen[str]]
) -> None:
    """When the first start is killed in the middle of initdb, the next one begins anew and leaves no remains."""
    parent = spawn_parent(folder)
    wait_until(lambda: unfinished_in(folder), within_s=10)
    [unfinished] = unfinished_in(folder)
    parent.kill()
    assert not (folder / "cluster").exists()
    with EmbeddedPostgres(folder) as server:
        assert await fetch(server.dsn, "SELECT 1") == 1
        assert not unfinished.exists()
