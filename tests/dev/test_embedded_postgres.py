"""The embedded Postgres against the real programs: nothing here is faked, and processes are really killed."""

import asyncio
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, running_dsn
from clerksync_server.dev.postgres_binaries import Account, fallback_folder, find_binaries

IS_ROOT = os.geteuid() == 0
SERVER_SOURCE = Path(__file__).parents[2] / "server"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
root_only = pytest.mark.skipif(not IS_ROOT, reason="needs root to become another user")

# A process that starts the server of the folder it is told, says the DSN, and waits for its input to end.
PARENT = """
import sys
from pathlib import Path
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
print("dsn", server.start(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach, as pytest's own are not when root runs it."""
    path = Path(tempfile.mkdtemp(prefix="embedded-postgres-")).resolve()
    path.chmod(0o755)
    # A port of its own: tests that run side by side would else fight for the default one.
    with socket.create_server(("127.0.0.1", 0)) as free:
        (path / "port").write_text(str(free.getsockname()[1]))
    yield path
    if sys.platform == "linux":
        wait_until(lambda: not processes_in(path), within_s=5)
    shutil.rmtree(path)


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that are ended with the test."""
    spawned: list[subprocess.Popen[str]] = []

    def start(*command: str, **options: Any) -> subprocess.Popen[str]:
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True} | options
        spawned.append(subprocess.Popen(command, **options))
        return spawned[-1]

    yield start
    for process in spawned:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


@pytest.fixture
def spawn_parent(spawn: Callable[..., subprocess.Popen[str]]) -> Callable[[Path], subprocess.Popen[str]]:
    """Starts a process that starts a server."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return lambda folder: spawn(sys.executable, "-c", PARENT, str(folder), env=environment)


def becoming(account: Account) -> dict[str, Any]:
    """The options that make root start a process as that user."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if IS_ROOT else {}


def said_dsn(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    for line in process.stdout:
        if line.startswith("dsn "):
            return line.split()[1]
    raise AssertionError("the process ended without a DSN")


async def fetch(dsn: str, query: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def processes_in(folder: Path) -> list[int]:
    """The processes that work in the folder or below, found without the code that is tested."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def proc(server: EmbeddedPostgres, entry: str = "") -> Path:
    """What the kernel says about the server's main process."""
    return Path(f"/proc/{server.pid}", entry)


def unfinished_in(folder: Path) -> list[Path]:
    """The clusters in the making, once initdb is at work in them."""
    return [path.parent for path in folder.glob("unfinished-*/PG_VERSION")]


def wait_until(condition: Callable[[], object], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.01)


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


def test_the_second_holder_is_told_who_is_first(
    folder: Path, spawn_parent: Callable[[Path], subprocess.Popen[str]]
) -> None:
    """A folder in use is refused with the pid of its holder, whose server goes on."""
    parent = spawn_parent(folder)
    dsn = said_dsn(parent)
    with pytest.raises(EmbeddedPostgresError, match=rf"in use by process {parent.pid}\b"):
        EmbeddedPostgres(folder, lock_wait_s=0.2).start()
    assert running_dsn(folder) == dsn


def test_the_second_holder_waits_for_the_first_to_go(
    folder: Path, spawn_parent: Callable[[Path], subprocess.Popen[str]]
) -> None:
    """A folder whose holder is about to stop is waited for."""
    parent = spawn_parent(folder)
    dsn = said_dsn(parent)
    assert parent.stdin
    threading.Timer(0.3, parent.stdin.close).start()
    with EmbeddedPostgres(folder) as server:
        assert server.dsn == dsn
    assert parent.wait(5) == 0


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


def test_a_running_server_can_be_asked_for(folder: Path, spawn_parent: Callable[[Path], subprocess.Popen[str]]) -> None:
    """Another process learns the DSN while the server runs, and None before and after."""
    assert running_dsn(folder / "none") is None
    assert not (folder / "none").exists()
    parent = spawn_parent(folder)
    dsn = said_dsn(parent)
    assert running_dsn(folder) == dsn
    parent.communicate()
    assert running_dsn(folder) is None


def test_only_the_main_thread_may_start_it(folder: Path) -> None:
    """A start from another thread is refused, because the server would end with that thread."""
    with ThreadPoolExecutor() as threads, pytest.raises(EmbeddedPostgresError, match="main thread"):
        threads.submit(EmbeddedPostgres(folder).start).result()


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


@root_only
async def test_root_becomes_nobody_and_opens_no_folder(folder: Path) -> None:
    """Started by root, the server is nobody's, and the folders that were there keep their permissions."""
    (folder / "parent").mkdir()
    (folder / "parent").chmod(0o751)
    with EmbeddedPostgres(folder / "parent" / "data") as server:
        nobody = pwd.getpwnam("nobody").pw_uid
        assert proc(server).stat().st_uid == nobody
        assert (folder / "parent" / "data" / "cluster").stat().st_uid == nobody
        status = proc(server, "status").read_text()
        assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
    assert stat.S_IMODE((folder / "parent").stat().st_mode) == 0o751


@root_only
async def test_root_falls_back_when_nobody_cannot_reach_the_folder(folder: Path) -> None:
    """Below a folder closed to others, data (and programs, if they are there) move to a place of root's in /var/tmp."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    binaries = find_binaries()[0]
    package = binaries.parent.parent
    shutil.copytree(package, closed / package.name, ignore=shutil.ignore_patterns("__pycache__", "include"))
    if (libraries := package.parent / f"{package.name}.libs").exists():
        shutil.copytree(libraries, closed / libraries.name)
    unreachable = closed / binaries.relative_to(package.parent)
    server = EmbeddedPostgres(closed / "data", binaries=unreachable)
    program = Path()
    try:
        with structlog.testing.capture_logs() as logs:
            dsn = server.start()
        program = proc(server, "exe").readlink()
        assert server.folder == fallback_folder(str(closed / "data"))
        assert any(line.get("used") == str(server.folder) for line in logs)
        assert not program.is_relative_to(closed)
        assert program.stat().st_uid == 0
        assert await fetch(dsn, "CREATE TABLE kept AS SELECT 42 AS answer") is None
        assert running_dsn(closed / "data") == dsn
        server.stop()
        with EmbeddedPostgres(closed / "data", binaries=unreachable) as again:
            assert await fetch(again.dsn, "SELECT answer FROM kept") == 42
            assert proc(again, "exe").readlink() == program
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        server.stop()
        shutil.rmtree(fallback_folder(str(closed / "data")), ignore_errors=True)
        for parent in program.parents:
            if parent.parent == Path("/var/tmp"):
                shutil.rmtree(parent)


@root_only
@pytest.mark.parametrize("trap", ["link", "foreign", "writable"])
def test_a_fallback_folder_that_someone_else_prepared_is_refused(folder: Path, trap: str) -> None:
    """A link, another user's folder or one that others may write to is never used in the fallback's place."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    place = fallback_folder(str(closed / "data"))
    (folder / "target").mkdir()
    try:
        if trap == "link":
            place.symlink_to(folder / "target")
        else:
            place.mkdir()
            place.chmod(0o777 if trap == "writable" else 0o711)
            if trap == "foreign":
                os.chown(place, pwd.getpwnam("nobody").pw_uid, -1)
        with pytest.raises(EmbeddedPostgresError, match=f"{place} .*: remove it"):
            EmbeddedPostgres(closed / "data").start()
        assert not list((folder / "target").iterdir())
    finally:
        if trap == "link":
            place.unlink()
        else:
            place.rmdir()


@root_only
async def test_an_ordinary_user_needs_no_rights(folder: Path, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    """Everything works for a user without rights, as that user, with nothing but a home folder of its own."""
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_uid, nobody.pw_gid)
    packages = str(Path(structlog.__file__).parents[1])
    same_version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = next(
        (
            candidate
            for candidate in (sys.executable, shutil.which(same_version, path="/usr/bin:/usr/local/bin"))
            if candidate and _runs_as(account, candidate, packages)
        ),
        None,
    )
    if python is None:
        pytest.skip("there is no interpreter, or no source, that an ordinary user can reach here")
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, account.uid, account.gid)
    user = spawn(
        *(python, "-c", PARENT, str(home / "data")),
        **becoming(account),
        cwd=home,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": f"{SERVER_SOURCE}:{packages}"},
    )
    dsn = said_dsn(user)
    assert await fetch(dsn, "SELECT 1") == 1
    assert (home / "data" / "cluster").stat().st_uid == account.uid
    assert user.stdin
    user.stdin.close()
    assert user.wait(5) == 0
    # Root comes later to the same data, and runs the server as the user whose data it is.
    with EmbeddedPostgres(home / "data") as server:
        assert proc(server).stat().st_uid == account.uid
    assert (home / "data" / "password").stat().st_uid == account.uid


def _runs_as(account: Account, python: str, packages: str) -> bool:
    command = [python, "-c", "import clerksync_server.dev.embedded_postgres"]
    environment = {"PYTHONPATH": f"{SERVER_SOURCE}:{packages}"}
    try:
        subprocess.run(command, check=True, env=environment, cwd="/", stderr=subprocess.DEVNULL, **becoming(account))
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True
