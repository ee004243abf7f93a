"""What the tests of the embedded Postgres share: processes that start servers, and a look at both from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres
from clerksync_server.dev.postgres_binaries import Account

IS_ROOT = os.geteuid() == 0

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


def wait_until(condition: Callable[[], object], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.01)
