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
    """Rights that somebody has granted since."""
    await admin.execute(
        f"""
        grant truncate on public.user_profile to {logins.service.name};
        grant delete on clerksync.deleted_entity to {logins.service.name};
        grant update on clerksync.schema_version to {logins.service.name};
        grant create on schema clerksync to {logins.service.name};
        alter role {logins.service.name} bypassrls createrole createdb;
        """
    )

    result = run("doctor", environment={"DATABASE_URL": logins.service.dsn, "COLUMNS": "2000"})

    for text in (
        "bypasses row-level security",
        "may change clerksync.schema_version",
        "may create databases",
        "may create in the schema clerksync",
        "may create roles",
        "may delete from clerksync.deleted_entity",
        "may truncate public.user_profile",
    ):
        assert text in result.stdout


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
