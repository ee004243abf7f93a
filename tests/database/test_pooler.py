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
