"""Who may hold the embedded Postgres of a folder, and what others learn of it."""

import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dev.servers import said_dsn

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, running_dsn


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
