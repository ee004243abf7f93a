"""`clerksync doctor` tells what the role of DATABASE_URL may beyond what the service needs, and what it lacks."""

from typing import Any

import pytest
from database.logins import Logins
from running import run


async def test_doctor_finds_nothing_to_say_about_the_services_role(logins: Logins) -> None:
    """And reads all that it counts with the rights of the service."""
    result = run("doctor", environment={"DATABASE_URL": logins.service.dsn})

    assert 0 == result.returncode, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if "role of DATABASE_URL" in line]
    assert line.split()[-1] == "ok"


async def test_doctor_tells_of_an_owner_and_of_a_superuser(logins: Logins, empty_database: str) -> None:
    """Each by what it may beyond what the service needs."""
    owner = run("doctor", environment={"DATABASE_URL": logins.owner.dsn, "COLUMNS": "2000"})
    superuser = run("doctor", environment={"DATABASE_URL": empty_database, "COLUMNS": "2000"})

    assert (0, 0) == (owner.returncode, superuser.returncode)
    assert "owns public.user_profile" in owner.stdout
    assert "may create in the schema public" in owner.stdout
    assert "the role is a superuser" in superuser.stdout


async def test_doctor_names_every_right_beyond_what_is_needed(logins: Logins, admin: Any) -> None:
    """Rights that somebody has granted since, also to the group or to a column; and fails."""
    await admin.execute(
        f"""
        grant truncate on public.user_profile to {logins.service.name};
        grant delete on clerksync.deleted_entity to {logins.service.name};
        grant update (version_num) on clerksync.schema_version to {logins.service.name};
        grant references, trigger on clerksync.removal to clerksync_service;
        grant update on clerksync.deleted_entity to clerksync_service;
        grant create on schema clerksync to {logins.service.name};
        alter role {logins.service.name} bypassrls createrole createdb;
        """
    )

    result = run("doctor", environment={"DATABASE_URL": logins.service.dsn, "COLUMNS": "2000"})

    assert 1 == result.returncode
    assert "BROKEN: run SyncService as a member of clerksync_service" in result.stdout
    for text in (
        "bypasses row-level security",
        "has update (version_num) on clerksync.schema_version",
        "has references on clerksync.removal",
        "has trigger on clerksync.removal",
        "has update on clerksync.deleted_entity",
        "may create databases",
        "may create in the schema clerksync",
        "may create roles",
        "has delete on clerksync.deleted_entity",
        "has truncate on public.user_profile",
    ):
        assert text in result.stdout


async def test_doctor_names_whom_the_service_can_become(logins: Logins, admin: Any) -> None:
    """Also by way of other roles, and the roles of Postgres that reach its files and programs; and fails."""
    service, owner = logins.service.name, logins.owner.name
    await admin.execute(
        f"create role between_{owner}; grant pg_execute_server_program, {owner} to between_{owner};"
        f"grant between_{owner} to {service}"
    )

    result = run("doctor", environment={"DATABASE_URL": logins.service.dsn, "COLUMNS": "2000"})

    assert 1 == result.returncode
    for text in (f"between_{owner}", owner, "pg_execute_server_program"):
        assert f"may become {text}" in result.stdout
    assert "owns public.user_profile" in result.stdout
    assert "owns the function clerksync.claimed_org_id()" in result.stdout


async def test_doctor_only_tells_of_what_everybody_may(logins: Logins, admin: Any) -> None:
    """As in databases from before Postgres 15, where whoever else is there may need it."""
    await admin.execute("grant create on schema public to public")

    result = run("doctor", environment={"DATABASE_URL": logins.service.dsn, "COLUMNS": "2000"})

    assert 0 == result.returncode
    assert "look: run SyncService as a member of clerksync_service" in result.stdout
    assert "the role may create in the schema public" in result.stdout


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("revoke clerksync_service from {service}", "usage on schema clerksync"),
        ("revoke clerksync_service from {service}", "select on public.organization"),
        (
            "revoke clerksync_service from {service}; grant usage on schema clerksync to {service};"
            "grant all on all tables in schema public, clerksync to {service}",
            "a policy for all rows of public.user_profile",
        ),
    ],
)
async def test_doctor_names_what_the_service_lacks(logins: Logins, admin: Any, statement: str, missing: str) -> None:
    """And fails, because nothing works so."""
    await admin.execute(statement.format(service=logins.service.name))

    result = run("doctor", environment={"DATABASE_URL": logins.service.dsn})

    assert 1 == result.returncode
    assert "lacks what SyncService needs: " in result.stderr
    assert missing in result.stderr
