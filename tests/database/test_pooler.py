"""Behind a transaction pooler: no session, no prepared statement outlives a transaction."""

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bodies
import pytest
from running import until
from stack import now_ms
from structlog.testing import capture_logs

from clerksync.v1 import sync_service_pb2
from clerksync_server.database.migrate import migrate


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def pooled(empty_database: str) -> Iterator[str]:
    """The DSN of the empty database through PgBouncer in transaction mode, with two server connections for all."""
    pgbouncer = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if pgbouncer is None:
        pytest.skip("pgbouncer is not installed")
    url = urlsplit(empty_database)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="clerksync-pgbouncer-") as folder:
        Path(folder).chmod(0o755)
        users = Path(folder) / "users.txt"
        users.write_text(f'"{url.username}" "{url.password}"\n')
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={url.hostname} port={url.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\ndefault_pool_size = 2\n"
        )
        as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            [pgbouncer, *as_user, str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            asyncio.run(until(lambda: answers(port), 10))
            yield url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port}").geturl()
        finally:
            process.terminate()
            process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_through_pgbouncer(pooled: str, start_stack: Any) -> None:
    """Migration, deliveries and racing Ensure calls work through PgBouncer in transaction mode."""
    await migrate(pooled)
    stack = await start_stack(DATABASE_URL=pooled)
    t = now_ms() - 10_000

    outcomes = [
        (await stack.post(bodies.membership("created", f"user_{n}", "org_1", at=t, joined_at=t))).outcome
        for n in range(20)
    ]
    pairs = [(f"user_{secrets.randbelow(40)}", "org_1") for _ in range(200)]
    await asyncio.gather(*(stack.ensure_profile(*pair) for pair in pairs))

    assert outcomes == ["applied"] * 20
    users = {f"user_{n}" for n in range(20)} | {user for user, _ in pairs}
    assert users == {row["clerk_user_id"] for row in await stack.rows("select clerk_user_id from user_profile")}


@pytest.mark.parametrize("direct", [False, True])
async def test_removals_through_pgbouncer(pooled: str, empty_database: str, start_stack: Any, direct: bool) -> None:
    """Removals are told through PgBouncer too, by looking every 2 s, and at once if the direct URL is set."""
    await migrate(pooled)
    more = {"CLERKSYNC_DATABASE_DIRECT_URL": empty_database} if direct else {}
    with capture_logs() as lines:
        stack = await start_stack(DATABASE_URL=pooled, **more)
        call = stack.sync.WatchRemovals(sync_service_pb2.WatchRemovalsRequest())
        assert (await call.read()).reset
        await asyncio.sleep(1.2)  # As long as a notification is waited for.
        told_s = [await seconds_until_told(stack, call, f"user_{number}") for number in range(4)]
        call.cancel()

    warned = [line["hint"] for line in lines if line["event"].startswith("notifications do not arrive")]
    assert direct == (warned == [])
    assert len(warned) <= 1
    assert max(told_s) < (0.5 if direct else 2.5)


async def seconds_until_told(stack: Any, call: Any, user: str) -> float:
    await stack.post(bodies.membership("created", user, "org_1", at=now_ms(), joined_at=1))
    await stack.post(bodies.membership("deleted", user, "org_1", at=now_ms(), joined_at=1))
    started = asyncio.get_running_loop().time()
    while user not in {gone.clerk_user_id for gone in (await call.read()).removals}:
        pass
    return asyncio.get_running_loop().time() - started
