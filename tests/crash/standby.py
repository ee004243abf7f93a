"""A standby that holds whatever its primary has acknowledged, and takes over from it."""

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from running import until

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres
from clerksync_server.dev.postgres_binaries import find_binaries


def base_backup(primary: EmbeddedPostgres, folder: Path) -> bool:
    """Copies the primary into a folder for an EmbeddedPostgres; False where pg_basebackup is not installed."""
    program = find_binaries()[0] / "pg_basebackup"
    if not os.access(program, os.X_OK):
        return False
    folder.mkdir(mode=0o755)
    owner = (primary.folder / "cluster").stat()
    with_progress = ["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream"]
    subprocess.run(
        [program, "--pgdata", folder / "cluster", "--dbname", primary.dsn, *with_progress], check=True, timeout=60
    )
    shutil.copy2(primary.folder / "password", folder / "password")
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)
    return True


async def commit_on_both(primary: EmbeddedPostgres) -> None:
    """From now on the primary acknowledges a commit only when the standby has it as well."""
    connection = await asyncpg.connect(primary.dsn)
    try:
        await connection.execute("alter system set synchronous_standby_names = '*'")
        await connection.execute("select pg_reload_conf()")

        async def is_synchronous() -> bool:
            return bool(
                await connection.fetchval("select count(*) = 1 from pg_stat_replication where sync_state = 'sync'")
            )

        await until(is_synchronous, 20)
    finally:
        await connection.close()


async def promote(standby: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(standby.dsn)
    try:
        assert await connection.fetchval("select pg_promote(wait_seconds => 30)")
    finally:
        await connection.close()


def dsn_of_both(primary: EmbeddedPostgres, standby: EmbeddedPostgres) -> str:
    """Finds whichever of the two takes writes."""
    parts = urlsplit(primary.dsn)
    hosts = f"{parts.netloc},127.0.0.1:{urlsplit(standby.dsn).port}"
    return parts._replace(netloc=hosts, query="target_session_attrs=read-write").geturl()
