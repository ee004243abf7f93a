"""Folders for servers, and processes that are ended with the test."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dev.servers import PARENT, processes_in, wait_until


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
