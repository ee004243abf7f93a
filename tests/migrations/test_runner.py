"""How migrations are run: once, together, by any number of processes, and with a clear text when they cannot be."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from clerksync_server.database import migrate as runner
from clerksync_server.database.migrate import (
    REQUIRED_REVISION,
    MigrationError,
    current_revision,
    is_compatible,
    migrate,
    migrations_dir,
)

ALL = sorted(path.name[:4] for path in (migrations_dir() / "sql").glob("*.sql"))
NEXT = f"{len(ALL) + 1:04}"


async def test_an_empty_database_is_brought_to_the_revision_that_the_code_needs(
    empty_database: str, earlier: Any
) -> None:
    """Without being told about anything: there was nothing to adopt."""
    assert await current_revision(earlier) is None

    with capture_logs() as logs:
        applied = await migrate(empty_database)

    assert applied == ALL
    assert applied[-1] == await current_revision(earlier)
    assert is_compatible(applied[-1])
    assert logs == []


async def test_a_second_run_finds_nothing_to_do(empty_database: str, everything: Any, earlier: Any) -> None:
    """It changes nothing."""
    await migrate(empty_database)
    before = await everything(earlier)

    assert await migrate(empty_database) == []

    assert before == await everything(earlier)


async def test_ten_replicas_may_migrate_at_once(empty_database: str) -> None:
    """One of them does the work, and all of them succeed."""
    results = await asyncio.gather(*(migrate(empty_database) for _ in range(10)))

    assert [applied for applied in results if applied] == [ALL]


async def test_two_databases_of_a_cluster_may_be_migrated_at_once(
    empty_database: str, database_url: str, connection: Any, own_roles: Any
) -> None:
    """Though they share the roles that both of them make."""
    await connection.execute("drop schema clerksync cascade; drop table public.user_profile, public.organization;")

    both = await asyncio.gather(migrate(empty_database), migrate(database_url))

    assert list(both) == [ALL, ALL]
    assert (
        await connection.fetchval(
            "select count(*) from pg_roles where rolname in ($1, $2)", own_roles.service, own_roles.reader
        )
        == 2
    )


@pytest.mark.parametrize(
    ("revision", "compatible"), [(None, False), ("0001", False), (REQUIRED_REVISION, True), ("0099", True)]
)
async def test_a_newer_schema_serves_older_code(revision: str | None, compatible: bool) -> None:
    """Migrations only ever add, so the last release goes on working; one that is ahead of its schema does not."""
    assert compatible is is_compatible(revision)


async def test_a_newer_database_is_left_alone(empty_database: str, earlier: Any) -> None:
    """An older program that migrates at its start has nothing to do."""
    await migrate(empty_database)
    await earlier.execute("update clerksync.schema_version set version_num = '0099'")

    assert await migrate(empty_database) == []
    assert await current_revision(earlier) == "0099"


async def test_an_unknown_revision_is_refused(empty_database: str, earlier: Any) -> None:
    """A version table that somebody else has written into is not guessed about."""
    await migrate(empty_database)
    await earlier.execute("update clerksync.schema_version set version_num = '000a'")

    with pytest.raises(MigrationError, match=r"clerksync\.schema_version holds a revision"):
        await migrate(empty_database)


async def test_an_older_database_gets_what_is_missing(empty_database: str, own_roles: Any) -> None:
    """Only the migrations that are pending are applied."""
    migrations = runner.migrations_dir()
    await migrate(empty_database)
    (migrations / "versions" / f"{NEXT}_add_note.py").write_text(
        f'revision = "{NEXT}"\ndown_revision = "{ALL[-1]}"\n\n'
        f'def upgrade(run_sql_file):\n    run_sql_file("{NEXT}_add_note.sql")\n'
    )
    (migrations / "sql" / f"{NEXT}_add_note.sql").write_text("create table clerksync.note (text text); select 1;")

    assert await migrate(empty_database) == [NEXT]


async def test_all_pending_migrations_are_applied_or_none(
    empty_database: str, earlier: Any, everything: Any, own_roles: Any
) -> None:
    """When the last one fails the database is as before."""
    script = runner.migrations_dir() / "sql" / "0004_row_level_security.sql"
    script.write_text(script.read_text() + "\nselect 1 / 0;")
    before = await everything(earlier)

    with pytest.raises(MigrationError, match=r"0004_row_level_security.sql: .*DivisionByZeroError, SQLSTATE 22012"):
        await migrate(empty_database)

    assert before == await everything(earlier)
    assert await current_revision(earlier) is None


async def test_a_table_that_somebody_holds_is_not_waited_for_long(
    empty_database: str, earlier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers would queue up behind the migration: it gives up, and says what to look for."""
    monkeypatch.setattr(runner, "_PREPARE_MIGRATIONS", runner._PREPARE_MIGRATIONS.replace("'5s'", "'200ms'"))
    await earlier.execute("create table organization (id uuid primary key, clerk_org_id text)")

    async with asyncio.timeout(5), earlier.transaction():
        await earlier.execute("select from organization")
        with pytest.raises(MigrationError, match=r"another session holds a lock on a table.*pg_stat_activity"):
            await migrate(empty_database)

    assert await migrate(empty_database) == ALL


async def test_a_migration_that_hangs_is_not_waited_for_forever(
    empty_database: str, earlier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that cannot have its turn says who has it."""
    monkeypatch.setattr(runner, "_PREPARE_TRANSACTION", "set local lock_timeout = '200ms'")

    async with asyncio.timeout(5), earlier.transaction():
        await earlier.execute(runner._TAKE_TURNS)
        with pytest.raises(MigrationError, match="another migration of this database"):
            await migrate(empty_database)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"netloc": "nobody:hunter2@{host}"}, "authentication failed"),
        ({"path": "/no_such_database"}, "does not exist"),
        ({"netloc": "u:hunter2@127.0.0.1:1"}, "Connect call failed"),
        ({"netloc": "u:hunter2@127.0.0.1:hunter2"}, "DATABASE_URL is not understood"),
        ({"scheme": "mysql"}, "DATABASE_URL is not understood"),
    ],
)
async def test_a_database_that_cannot_be_reached(empty_database: str, change: dict[str, str], text: str) -> None:
    """The text says why, and holds no password."""
    url = urlsplit(empty_database)
    change = {part: value.format(host=f"{url.hostname}:{url.port}") for part, value in change.items()}

    with pytest.raises(MigrationError, match=rf"^cannot connect to the database: .*{text}") as refusal:
        await migrate(url._replace(**change).geturl())

    assert "hunter2" not in str(refusal.value)


async def test_settings_of_the_role_do_not_matter(empty_database: str, earlier: Any) -> None:
    """Isolation, search path, timeouts and row-level security are set for the migration itself."""
    database = await earlier.fetchval("select current_database()")
    await earlier.execute(
        f"""
        create schema app; create table app.organization (); create domain app.text as integer;
        create table organization (id uuid primary key, clerk_org_id varchar(50), created_at timestamp);
        insert into organization select gen_random_uuid(), 'org_' || n, now() from generate_series(1, 50000) as n;
        alter database {database} set default_transaction_isolation = 'serializable';
        alter database {database} set search_path = app, pg_catalog;
        alter database {database} set statement_timeout = '100ms';
        """
    )

    assert [applied for applied in await asyncio.gather(*(migrate(empty_database) for _ in range(3))) if applied] == [
        ALL
    ]


async def test_nothing_is_left_of_a_session(empty_database: str, postgres_server_dsn: str) -> None:
    """No connection stays open, whether it went well or not."""
    await migrate(empty_database)
    administrator: asyncpg.Connection[Any] = await asyncpg.connect(postgres_server_dsn)
    left = await administrator.fetchval(
        "select count(*) from pg_stat_activity where application_name = 'clerksync migrate' and datname = $1",
        urlsplit(empty_database).path[1:],
    )
    await administrator.close()

    assert left == 0


def test_every_migration_has_its_number_and_its_stub() -> None:
    """Numbers have no gaps, a stub runs the file of its name after the one before, and the code needs one of them."""
    names = sorted(path.stem for path in (migrations_dir() / "sql").glob("*.sql"))
    stubs = {path.stem: path.read_text() for path in (migrations_dir() / "versions").glob("*.py")}

    assert [f"{number:04}" for number in range(1, len(names) + 1)] == [name[:4] for name in names]
    assert [name for name in names if not re.fullmatch(r"\d{4}_[a-z]+(_[a-z]+)+", name)] == []
    assert names == sorted(stubs)
    assert REQUIRED_REVISION in [name[:4] for name in names]
    for before, name in zip([None, *names], names, strict=False):
        assert f'revision = "{name[:4]}"\n' in stubs[name]
        assert f'down_revision = "{before[:4]}"\n' if before else "down_revision = None\n" in stubs[name]
        assert f'run_sql_file("{name}.sql")\n' in stubs[name]


def test_the_migrations_lie_in_the_package_or_in_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel carries them inside the package."""
    module = tmp_path / "clerksync_server" / "database" / "migrate.py"
    monkeypatch.setattr(runner, "__file__", str(module))

    in_checkout = migrations_dir()
    (tmp_path / "clerksync_server" / "migrations").mkdir(parents=True)
    in_wheel = migrations_dir()

    assert (tmp_path.parent / "migrations", tmp_path / "clerksync_server" / "migrations") == (in_checkout, in_wheel)


def test_no_migration_manages_the_transaction() -> None:
    """All of them run in one, which the runner opens and commits."""
    find: Callable[[str], Any] = re.compile(
        r"^\s*(commit|rollback|begin|start transaction)\s*;", re.MULTILINE | re.IGNORECASE
    ).search

    assert [path.name for path in (migrations_dir() / "sql").glob("*.sql") if find(path.read_text())] == []
