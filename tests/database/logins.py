"""The logins that migrations/sql/manual/roles.sql makes, as an administrator makes them: with psql."""

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from clerksync_server.database.migrate import migrations_dir
from clerksync_server.dev.postgres_binaries import find_binaries

SCRIPT = migrations_dir() / "sql" / "manual" / "roles.sql"


@dataclass(frozen=True)
class Login:
    """A role of one database's own, and how to connect as it."""

    name: str
    dsn: str


@dataclass(frozen=True)
class Logins:
    """The three of a database."""

    owner: Login
    service: Login
    reader: Login


def run_script(admin_dsn: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the script to its end. Skips where there is no psql."""
    beside = find_binaries()[0] / "psql"
    psql = str(beside) if os.access(beside, os.X_OK) else shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed, so nothing runs the script")
    given = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    command = [psql, "--no-psqlrc", admin_dsn, *given, "-f", str(SCRIPT)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, cwd=Path("/"))


async def make_logins(admin_dsn: str) -> Logins:
    """Three logins of new names, with passwords."""
    suffix = secrets.token_hex(4)
    names = {part: f"{part}_{suffix}" for part in ("owner", "service", "reader")}
    done = run_script(admin_dsn, **names)
    assert 0 == done.returncode, done.stderr
    admin = await asyncpg.connect(admin_dsn)
    try:
        for name in names.values():
            await admin.execute(f"alter role {name} password 'secret'")
    finally:
        await admin.close()
    url = urlsplit(admin_dsn)
    return Logins(
        **{
            part: Login(name, url._replace(netloc=f"{name}:secret@{url.hostname}:{url.port}").geturl())
            for part, name in names.items()
        }
    )
