"""The embedded Postgres started by root, who has to become another user, and by a user without rights."""

import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from dev.servers import PARENT, becoming, fetch, proc, root_only, said_dsn

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, running_dsn
from clerksync_server.dev.postgres_binaries import Account, fallback_folder, find_binaries

SERVER_SOURCE = Path(__file__).parents[2] / "server"


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
