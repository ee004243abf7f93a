"""Postgres restarts, cuts connections, fails over: the same promises, and no process of ours is restarted."""

import asyncio
import os
import random
import signal
from pathlib import Path

import asyncpg
import pytest
from crash.site import Site, assert_nothing_left, free_ports, kill_postgres
from crash.standby import base_backup, commit_on_both, dsn_of_both, promote
from crash.storm import Storm
from running import until

from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

SEED = 11


async def test_postgres_restarts(fragile_postgres: EmbeddedPostgres) -> None:
    """Restarts of Postgres, in good order and immediate, lose nothing that was acknowledged."""
    dsn = fragile_postgres.dsn
    await migrate(dsn)

    async def restart() -> None:
        choose = random.Random(SEED)
        for number in range(6):
            await asyncio.sleep(choose.uniform(0.3, 0.8))
            if number % 2:
                assert fragile_postgres.pid is not None
                os.kill(fragile_postgres.pid, signal.SIGQUIT)
                await until(lambda: fragile_postgres.pid is None, 10)
            else:
                fragile_postgres.stop()
            await asyncio.sleep(choose.uniform(0, 0.3))
            fragile_postgres.start()
        await asyncio.sleep(1)

    async with Site(dsn, fronts=1) as site:
        pids = site.pids
        storm = Storm(site, dsn, SEED)

        assert await storm.during(restart) == []

        assert pids == site.pids
        assert all(replica.running.process.poll() is None for replica in site.replicas)


async def test_connections_are_cut(database_url: str) -> None:
    """Connections that the server keeps cutting, in the middle of transactions too, lose and repeat nothing."""
    cut = 0

    async def terminate() -> None:
        nonlocal cut
        connection = await asyncpg.connect(database_url)
        try:
            async with asyncio.timeout(4):
                while True:
                    cut += await connection.fetchval(
                        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                        "where datname = current_database() and application_name = 'clerksync' and random() < 0.3"
                    )
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        finally:
            connection.terminate()

    async with Site(database_url, fronts=1) as site:
        pids = site.pids
        storm = Storm(site, database_url, SEED)

        assert await storm.during(terminate) == []

        assert pids == site.pids
    print(f"seed {SEED}: {cut} connections cut")
    assert cut > 20


async def test_failover_to_a_standby(fragile_postgres: EmbeddedPostgres, crash_folder: Path) -> None:
    """When the primary dies and its synchronous standby takes over, the services find it by themselves."""
    if not base_backup(fragile_postgres, crash_folder / "standby"):
        pytest.skip("pg_basebackup is not installed")
    with EmbeddedPostgres(crash_folder / "standby", port=next(free_ports())) as standby:
        await commit_on_both(fragile_postgres)
        dsn = dsn_of_both(fragile_postgres, standby)
        await migrate(dsn)
        async with Site(dsn, fronts=1) as site:
            pids = site.pids
            storm = Storm(site, dsn, SEED)
            before = 0

            async def fail_over() -> None:
                nonlocal before
                await asyncio.sleep(2)
                await kill_postgres(fragile_postgres, alone=False)
                before = len(storm.sender.acknowledged)
                await asyncio.sleep(0.5)
                await promote(standby)
                await until(lambda: len(storm.sender.acknowledged) > before + 100, 30)

            wrong = await storm.during(fail_over)

            assert wrong == []
            assert before > 0
            assert pids == site.pids
    await assert_nothing_left(standby)
