"""Owns the life of the Postgres that `clerksync dev` and the tests use: its cluster, its port, its start and its end.

It must not outlive the process that started it, however that ends, and must not be reachable from another machine.
"""

import atexit
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from .instance_lock import (
    InstanceLock,
    PostmasterFile,
    end_leftover_servers,
    open_private,
    server_processes,
    write_private,
)
from .postgres_binaries import (
    Account,
    EmbeddedPostgresError,
    can_execute,
    copied_binaries,
    fallback_folder,
    find_binaries,
    launch,
    make_cluster,
    private_folder,
    server_folder,
    tail,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "running_dsn"]

log = structlog.get_logger(__name__)

_HOST = "127.0.0.1"
_NAME = "clerksync"  # The user and the database.
_FIRST_PORT = 54320
_READY_WITHIN_S = 60.0  # Recovery after a crash may take its time.
_RETRY_FOR_S = 10.0
_POLL_S = 0.01
_MAX_LOG_BYTES = 4 * 1024 * 1024
_RESERVED_SETTINGS = {"listen_addresses", "port", "unix_socket_directories"}

# What the folder holds: the cluster and small files beside it.
_CLUSTER = "cluster"
_PASSWORD = "password"  # noqa: S105 a file's name
_PORT = "port"
_LOG = "server.log"
_LOCK = "lock"

# What a server says when traces of the last one still have to go, or when another program was quicker to the port.
_TRANSIENT = (
    'lock file "postmaster.pid" already exists',
    "pre-existing shared memory block",
    "could not create any TCP/IP sockets",
)


class EmbeddedPostgres:
    """A Postgres of our own on 127.0.0.1 that keeps its data in a folder.

    `port` must be free when given; else the port of the last run is taken if it is free, or any other. `settings`
    are server settings (`{"max_connections": "200"}`). As root the server runs as an unprivileged user, and where
    that user cannot reach `data_dir` the data lies elsewhere: `folder` tells where.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
        lock_wait_s: float = 10.0,
    ) -> None:
        if reserved := _RESERVED_SETTINGS & set(settings or ()):
            raise ValueError(f"these settings are not the caller's to choose: {sorted(reserved)}")
        self.folder = data_dir.resolve()
        self._fixed_port = port
        self._settings = dict(settings or {})
        self._given_binaries = binaries
        self._lock_wait_s = lock_wait_s
        self._lock: InstanceLock | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_by = os.getpid()
        self._dsn: str | None = None

    def start(self) -> str:
        """Starts the server, making its cluster on first use, and returns the DSN; call it from the main thread.

        The server ends with the thread that started it (so the kernel counts), hence only the main thread will do.
        """
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedPostgresError(
                "The embedded Postgres would end with this thread: start it in the main thread."
            )
        if self._dsn is not None and self.pid is not None:
            return self._dsn
        self.stop()
        began = time.monotonic()
        self._started_by = os.getpid()
        try:
            self._dsn = self._start()
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise EmbeddedPostgresError(
                    f"The embedded Postgres in {self.folder} could not be started: {error}. "
                    "Does the folder belong to another user, or is the disk full?"
                ) from error
            raise
        atexit.register(self.stop)
        seconds = round(time.monotonic() - began, 2)
        log.info("embedded Postgres is ready", pid=self.pid, folder=str(self.folder), seconds=seconds)
        return self._dsn

    def stop(self, timeout_s: float = 4.0) -> None:
        """Shuts the server down, without ceremony once the time is over (it recovers then); harmless when stopped."""
        if self._started_by != os.getpid():
            return  # A forked child has a copy of this object, but the server is its parent's.
        if self._process is not None:
            # Orderly; at once, with recovery at the next start; and what cannot be refused.
            for signal_number, wait_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 3.0), (signal.SIGKILL, None)):
                self._process.send_signal(signal_number)
                try:
                    self._process.wait(wait_s)
                    break
                except subprocess.TimeoutExpired:
                    log.warning("embedded Postgres does not stop", pid=self._process.pid, signal=signal_number.name)
            self._process = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._dsn = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def dsn(self) -> str:
        """How to connect, as the owner of everything."""
        if self._dsn is None:
            raise EmbeddedPostgresError("The embedded Postgres is not running: call start() first.")
        return self._dsn

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def _start(self) -> str:
        binaries, major = find_binaries(self._given_binaries)
        self.folder, account = server_folder(self.folder, _CLUSTER)
        if account and not can_execute(account, binaries):
            binaries = copied_binaries(binaries)
        self._lock = InstanceLock(self.folder / _LOCK)
        self._lock.acquire(self._lock_wait_s, account)
        cluster, password_file = self.folder / _CLUSTER, self.folder / _PASSWORD
        if cluster.exists():
            self._check_cluster(major)
            end_leftover_servers(cluster)
        else:
            write_private(password_file, secrets.token_urlsafe(24), account)
            make_cluster(cluster, binaries, major, account, owner=_NAME, password_file=password_file)
        port = self._launch(binaries, account)
        write_private(self.folder / _PORT, str(port), account)
        return _dsn(password_file.read_text().strip(), port)

    def _check_cluster(self, major: int) -> None:
        cluster = self.folder / _CLUSTER
        afresh = f"or remove {self.folder} to start afresh"
        if (made_by := (cluster / "PG_VERSION").read_text().strip()) != str(major):
            raise EmbeddedPostgresError(
                f"{cluster} was made by Postgres {made_by} and the programs found are of {major}: "
                f"install those of {made_by}, {afresh}."
            )
        if not (self.folder / _PASSWORD).exists():
            raise EmbeddedPostgresError(f"{self.folder / _PASSWORD} is missing: put it back, {afresh}.")

    def _launch(self, binaries: Path, account: Account | None) -> int:
        """Starts the server, again while what is in its way goes by itself, and returns its port."""
        deadline = time.monotonic() + _RETRY_FOR_S
        preferred = self._fixed_port or self._last_port()
        while True:
            port = _free_port(preferred) or (None if self._fixed_port else _free_port(0))
            if port is None:
                raise EmbeddedPostgresError(
                    f"Port {preferred} of {_HOST} is taken: end the program that uses it, or choose another port."
                )
            failure = self._launch_once(binaries, account, port)
            if failure is None:
                return port
            if not any(sign in failure for sign in _TRANSIENT) or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"The embedded Postgres did not start; the end of {self.folder / _LOG}:\n{tail(failure)}"
                )
            time.sleep(0.2)

    def _launch_once(self, binaries: Path, account: Account | None, port: int) -> str | None:
        cluster, log_file = self.folder / _CLUSTER, self.folder / _LOG
        settings = {"listen_addresses": _HOST, "port": str(port), "unix_socket_directories": "", **self._settings}
        command = [str(binaries / "postgres"), "-D", str(cluster)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        output = open_private(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, account)
        try:
            if os.fstat(output).st_size > _MAX_LOG_BYTES:
                os.ftruncate(output, 0)
            log_start = os.fstat(output).st_size
            # Its own session keeps a terminal's Ctrl-C from it: that is for us, who stop it after all who use it.
            self._process = launch(account, command, self.folder, entered=subprocess.DEVNULL, output=output)
        finally:
            os.close(output)
        deadline = time.monotonic() + _READY_WITHIN_S
        while self._process.poll() is None and time.monotonic() < deadline:
            noted = PostmasterFile.read(cluster)
            if noted and noted.ready and noted.pid == self._process.pid:
                return None
            time.sleep(_POLL_S)
        if self._process.poll() is None:
            raise EmbeddedPostgresError(
                f"The embedded Postgres is not ready after {_READY_WITHIN_S} s: see {log_file}."
            )
        self._process = None
        with log_file.open("rb") as written:
            written.seek(log_start)
            return written.read().decode(errors="replace")

    def _last_port(self) -> int:
        try:
            return int((self.folder / _PORT).read_text())
        except (FileNotFoundError, ValueError):
            return _FIRST_PORT


def running_dsn(data_dir: Path) -> str | None:
    """The DSN of the server that runs on the folder, whoever started it, or None; starts and changes nothing."""
    folders = [data_dir.resolve()]
    if os.geteuid() == 0 and fallback_folder(str(folders[0])).exists():
        folders.append(private_folder(str(folders[0])))
    for folder in folders:
        cluster = folder / _CLUSTER
        try:
            noted = PostmasterFile.read(cluster)
            if noted and noted.ready and noted.pid in server_processes(cluster):
                return _dsn((folder / _PASSWORD).read_text().strip(), noted.port)
        except PermissionError as error:
            raise EmbeddedPostgresError(f"{error.filename} belongs to another user: ask as that user.") from error
    return None


def _dsn(password: str, port: int) -> str:
    return f"postgresql://{_NAME}:{password}@{_HOST}:{port}/{_NAME}"


def _free_port(port: int) -> int | None:
    """The port if it is free, any free one for 0."""
    with socket.socket() as probe:
        # As Postgres does, or the port of its last run would seem busy for a while.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            return None
        return int(probe.getsockname()[1])
