"""`clerksync dev`: one command that shows everything, and leaves nothing behind."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from running import COMMAND, Running, run, until
from stack import WEBHOOK_SECRET

from clerksync_server.dev.database import running_dev_dsn

STORY = ["applied", "applied", "duplicate", "applied", "applied", "stale", "applied"]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="clerksync-dev-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "data"


def answers(output: str) -> list[str]:
    """The outcomes that the story printed, in order."""
    return [line.split('"outcome": "')[1].split('"')[0] for line in output.splitlines() if '"outcome": "' in line][:7]


async def serving(process: Running) -> None:
    await until(lambda: "Serving until Ctrl-C" in process.out or process.process.poll() is not None, 30)
    assert process.process.poll() is None, process.err


def postgres_processes(data_dir: Path) -> list[int]:
    """The processes that have the data folder on their command line."""
    listing = subprocess.run(["ps", "-eo", "pid=,args="], check=True, capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listing.splitlines() if str(data_dir) in line and "postgres" in line]


async def test_the_story_and_a_second_start_on_the_same_data(data_dir: Path) -> None:
    """The story ends alike at every start, what an earlier start has left is still there, and stopping is quick."""
    environment = {"CLERKSYNC_DATA_DIR": str(data_dir)}
    for organizations in (1, 2):
        async with Running("dev", environment=environment) as process:
            await serving(process)
            assert answers(process.out) == STORY
            assert "CREATED" in process.out
            assert "FAILED_PRECONDITION" in process.out
            assert "user_profile: 2 rows" in process.out
            assert "grpcurl -plaintext 127.0.0.1:" in process.out
            dsn = running_dev_dsn(data_dir)
            assert dsn is not None
            connection = await asyncpg.connect(dsn)
            assert organizations == await connection.fetchval("select count(*) from organization")
            await connection.close()
            assert run("doctor", environment=environment).returncode == 0

            assert await process.stop(signal.SIGINT) < 5
            assert process.process.returncode == 0
            await until(lambda: not postgres_processes(data_dir), 5)


async def test_killed_outright(data_dir: Path) -> None:
    """After `kill -9` no Postgres stays behind, and the next start has the data."""
    environment = {"CLERKSYNC_DATA_DIR": str(data_dir)}
    async with Running("dev", environment=environment) as process:
        await serving(process)
        process.process.kill()
        await until(lambda: not postgres_processes(data_dir), 10)

    async with Running("dev", "--no-story", environment=environment) as process:
        await serving(process)
        dsn = running_dev_dsn(data_dir)
        assert dsn is not None
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("select count(*) from organization") == 1
        await connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
async def test_parent_killed(data_dir: Path) -> None:
    """With --stop-with-parent, as `make run` has it, killing the parent alone stops everything in order."""
    parent = f"import subprocess, sys; subprocess.run({[*COMMAND, 'dev', '--stop-with-parent', '--no-story']!r})"
    environment = {"CLERKSYNC_DATA_DIR": str(data_dir)}
    async with Running(environment=environment, command=(sys.executable, "-c", parent)) as process:
        await serving(process)
        process.process.kill()
        await until(lambda: not postgres_processes(data_dir), 10)
        await until(lambda: process.log("stopped"), 5)


async def test_with_a_database_of_ones_own(empty_database: str, data_dir: Path) -> None:
    """With DATABASE_URL set, that database is migrated and used, and no Postgres is started; nothing given is shown."""
    given = {"DATABASE_URL": empty_database, "CLERK_WEBHOOK_SECRET": WEBHOOK_SECRET}
    environment = {"CLERKSYNC_DATA_DIR": str(data_dir), **given}
    async with Running("dev", environment=environment) as process:
        await serving(process)

        assert answers(process.out) == STORY
        assert 'psql "$DATABASE_URL" -c' in process.out
        assert not any(value in process.out + process.err for value in given.values())
        assert postgres_processes(data_dir) == []
        connection = await asyncpg.connect(empty_database)
        assert await connection.fetchval("select count(*) from user_profile") == 2
        await connection.close()


async def test_the_secret_survives(data_dir: Path) -> None:
    """The webhook secret that dev makes is kept for the next start, readable by its owner alone."""
    async with Running("dev", "--no-story", environment={"CLERKSYNC_DATA_DIR": str(data_dir)}) as process:
        await serving(process)
        secret = (data_dir / "webhook-secret").read_text().strip()
        assert f"CLERK_WEBHOOK_SECRET={secret}" in process.out
        await process.stop()
    async with Running("dev", "--no-story", environment={"CLERKSYNC_DATA_DIR": str(data_dir)}) as process:
        await serving(process)
        assert f"CLERK_WEBHOOK_SECRET={secret}" in process.out

    assert (data_dir / "webhook-secret").stat().st_mode & 0o777 == 0o600
