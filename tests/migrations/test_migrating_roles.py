"""Migrating without a superuser: as the owner of a database."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from clerksync_server.database.migrate import MigrationError, migrate

EARLIER = "create table organization (id uuid primary key default gen_random_uuid(), clerk_org_id text);"


@pytest.fixture
async def own_database(empty_database: str, earlier: Any, own_roles: Any, dsn_as: Any) -> Callable[..., Awaitable[str]]:
    """Gives the test's database to a new role, and tells how to reach it as that role."""

    async def give(options: str = "") -> str:
        owner = f"owner_{own_roles.service}"
        database = await earlier.fetchval("select current_database()")
        await earlier.execute(
            f"create role {owner} login {options} password 'secret'; alter database {database} owner to {owner}"
        )
        return str(dsn_as(empty_database, owner, "secret"))

    return give


async def test_the_owner_of_a_database_may_migrate_it(own_database: Any, own_roles: Any, earlier: Any) -> None:
    """If it may make roles; it can grant the service's role to logins afterwards, and no policy binds it."""
    dsn = await own_database("createrole")
    await migrate(dsn)
    owner = await asyncpg.connect(dsn)
    try:
        await owner.execute(
            f"""
            create role login_{own_roles.service} login;
            grant {own_roles.service} to login_{own_roles.service};
            grant {own_roles.reader} to login_{own_roles.service};
            insert into public.organization (clerk_org_id, name) values ('org_a', 'A');
            """
        )
        assert 1 == await owner.fetchval("select count(*) from public.organization")
    finally:
        await owner.close()


async def test_who_may_not_make_roles_is_told_what_an_administrator_has_to_run(
    own_database: Any, own_roles: Any, earlier: Any, everything: Any
) -> None:
    """And can migrate once that was run."""
    dsn = await own_database()
    before = await everything(earlier)

    with pytest.raises(MigrationError, match="may not create the roles that clerksync needs") as refusal:
        await migrate(dsn)

    assert before == await everything(earlier)
    statements = str(refusal.value).partition("run the migration again: ")[2]
    assert 2 == statements.count("create role ")
    await earlier.execute(statements)
    assert [] != await migrate(dsn)
    owner = await asyncpg.connect(dsn)
    try:
        await owner.execute(f"grant {own_roles.service} to {own_roles.reader}")
    finally:
        await owner.close()


async def test_tables_of_another_role_are_refused(own_database: Any, earlier: Any) -> None:
    """Only their owner may change them."""
    dsn = await own_database("createrole")
    await earlier.execute(EARLIER)

    with pytest.raises(
        MigrationError,
        match=r"public\.organization belongs to the role .*\n.*alter table public\.organization owner to owner_",
    ):
        await migrate(dsn)


async def test_row_level_security_that_binds_the_owner_is_refused(own_database: Any) -> None:
    """It would hide rows from the migration; without the force the same tables are adopted."""
    dsn = await own_database("createrole")
    owner = await asyncpg.connect(dsn)
    try:
        await owner.execute(EARLIER + "insert into organization (clerk_org_id) values ('org_a');")
        await owner.execute("alter table organization enable row level security, force row level security")
        with pytest.raises(MigrationError, match=r"alter table public\.organization no force row level security"):
            await migrate(dsn)

        await owner.execute("alter table organization no force row level security")
        await migrate(dsn)

        assert "org_a" == await owner.fetchval("select name from public.organization")
    finally:
        await owner.close()


async def test_a_role_that_may_not_make_schemas_is_told(
    own_database: Any, empty_database: str, own_roles: Any, earlier: Any, dsn_as: Any
) -> None:
    """What Postgres says about missing rights is passed on."""
    await own_database()
    await earlier.execute(f"create role guest_{own_roles.reader} login password 'secret'")

    with pytest.raises(MigrationError, match=r"permission denied for database .*\nRun the migration as the owner"):
        await migrate(dsn_as(empty_database, f"guest_{own_roles.reader}", "secret"))


async def test_an_error_of_the_version_table_is_told_as_well(
    own_database: Any, empty_database: str, own_roles: Any, earlier: Any, dsn_as: Any
) -> None:
    """A schema that is there already may belong to somebody else."""
    await own_database()
    guest = f"guest_{own_roles.reader}"
    await earlier.execute(
        f"create role {guest} login password 'secret';"
        f"create schema clerksync; grant usage on schema clerksync to {guest};"
    )

    with pytest.raises(
        MigrationError, match=r"^permission denied for schema clerksync\nRun the migration as the owner"
    ):
        await migrate(dsn_as(empty_database, guest, "secret"))
