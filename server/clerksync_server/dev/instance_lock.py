"""Owns the rule that one cluster has one server: the lock between supervisors, and the end of servers left over.

It never signals a process that is not a Postgres working in the cluster's own directory.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from .postgres_binaries import Account, EmbeddedPostgresError

log = structlog.get_logger(__name__)

_POLL_S = 0.02


class InstanceLock:
    """An exclusive lock on a file; the kernel gives it up when the process that holds it ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, wait_s: float, account: Account | None) -> None:
        """Waits for a holder to go, and names it if it stays."""
        descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT, account)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = os.read(descriptor, 32).decode() or "unknown"
                    os.close(descriptor)
                    raise EmbeddedPostgresError(
                        f"The embedded Postgres in {self._path.parent} is in use by process {holder}: "
                        "stop that one first, or take another folder."
                    ) from None
                time.sleep(_POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Lets the next one in; harmless when not held."""
        if self._descriptor is not None:
            # Unlocked by name: a forked child may still have the file open, and would keep a lock that is only closed.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def open_private(path: Path, flags: int, account: Account | None) -> int:
    """Opens a file that only its owner may read, follows no link to it, and gives it to the server's user."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if account:
        # The folder may be that user's, who could have put a second name of one of root's files here.
        if os.fstat(descriptor).st_nlink != 1:
            os.close(descriptor)
            raise EmbeddedPostgresError(f"{path} has more than one name: remove it.")
        os.fchown(descriptor, account.uid, account.gid)
    return descriptor


def write_private(path: Path, text: str, account: Account | None) -> None:
    """Writes such a file anew."""
    with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, account), "w") as file:
        file.write(text)


@dataclass(frozen=True)
class PostmasterFile:
    """What a server writes down about itself in postmaster.pid."""

    pid: int
    port: int
    ready: bool

    @classmethod
    def read(cls, cluster: Path) -> "PostmasterFile | None":
        """None while there is none or it is not written to the end (lines: 1 pid, 4 port, 8 status)."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            return cls(int(lines[0]), int(lines[3]), len(lines) > 7 and lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None


def server_processes(cluster: Path) -> list[int]:
    """The live Postgres processes that work in the cluster; without /proc only the main one can be known."""
    if Path("/proc/self/cwd").exists():
        known = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        return [pid for pid in known if _works_in(cluster, pid)]
    noted = PostmasterFile.read(cluster)
    if noted is None:
        return []
    command = ["ps", "-o", "command=", "-p", str(noted.pid)]
    found = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    return [noted.pid] if "postgres" in found and str(cluster) in found else []


def _works_in(cluster: Path, pid: int) -> bool:
    try:
        program, working_in = Path(f"/proc/{pid}/exe").readlink(), Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False  # Gone, a zombie, or another user's.
    return program.name.startswith("postgres") and working_in == cluster


def end_leftover_servers(cluster: Path) -> None:
    """Ends whatever an earlier supervisor left running on the cluster; only for the holder of the lock."""
    for signal_number, wait_s in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 3.0)):
        running = server_processes(cluster)
        if not running:
            break
        noted = PostmasterFile.read(cluster)
        # SIGINT asks the main process for an orderly shutdown; alone, its children end by themselves in a moment.
        targets = running if signal_number != signal.SIGINT else [pid for pid in running if noted and pid == noted.pid]
        if targets:
            log.info("ending a server left over from an earlier run", pids=targets, signal=signal_number.name)
        for pid in targets:
            with suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        for _ in _until(wait_s if targets else 1.0):
            if not server_processes(cluster):
                break
    if left := server_processes(cluster):
        raise EmbeddedPostgresError(
            f"Postgres processes {left} still use {cluster} and cannot be ended: end them first."
        )
    _drop_stale_postmaster_file(cluster)


def _drop_stale_postmaster_file(cluster: Path) -> None:
    """Removes a note whose process is a zombie or, after a reboot, some other program: Postgres would refuse to start.

    Postgres' second guard, the shared memory that belongs to the directory, is not touched by this.
    """
    if Path("/proc/self/cwd").exists() and (cluster / "postmaster.pid").exists() and not server_processes(cluster):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        log.info("the last server of this cluster ended without shutting down; it will recover", cluster=str(cluster))


def _until(wait_s: float) -> Iterator[None]:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL_S)
