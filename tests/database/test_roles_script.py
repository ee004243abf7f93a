"""roles.sql as an administrator runs it: again, for a new password, with the wrong variables, with odd names."""

from typing import Any
from urllib.parse import urlsplit

import asyncpg
import bodies
import pytest
from database.logins import (
    RIGHTS_OF_A_READER,
    RIGHTS_OF_THE_SERVICE,
    SCHEMA_CHANGES,
    WAYS_OUT,
    Login,
    Logins,
    make_logins,
    names_of,
    refused,
    rights_of,
    run_script,
)
from stack import Stack, now_ms

from clerksync_server.database.migrate import migrate


async def test_the_script_may_be_run_again_and_takes_back_what_was_added(
    logins: Logins, admin: Any, empty_database: str
) -> None:
    """Also what was granted to the logins themselves, and memberships that are not theirs."""
    service, reader, owner = logins.service.name, logins.reader.name, logins.owner.name
    await admin.execute(
        f"""
        grant {owner} to {service}; grant clerksync_service to {reader}; alter role {service} superuser createrole;
        alter role {reader} bypassrls;
        grant truncate on public.user_profile to {service};
        grant insert on public.user_profile to {reader};
        grant select on clerksync.webhook_delivery to {reader};
        grant create on schema public to {service};
        """
    )

    done = run_script(empty_database, owner=owner, service=service, reader=reader)

    assert 0 == done.returncode, done.stderr
    assert RIGHTS_OF_THE_SERVICE == await rights_of(admin, logins.service)
    assert RIGHTS_OF_A_READER == await rights_of(admin, logins.reader)
    for login in (logins.service, logins.reader):
        names = await names_of(admin, logins, login)
        tried = {text: await refused(login, text.format(**names)) for text in [*SCHEMA_CHANGES, *WAYS_OUT]}
        assert dict.fromkeys(tried, "42501") == tried


async def test_the_script_takes_back_what_the_groups_and_everybody_were_given(
    logins: Logins, admin: Any, empty_database: str
) -> None:
    """Rights to tables, columns and sequences, attributes, the right to pass them on; what is needed is put back."""
    service, reader, owner = logins.service.name, logins.reader.name, logins.owner.name
    await admin.execute(
        f"""
        grant truncate, delete, update, references on clerksync.deleted_entity to clerksync_service;
        grant all on public.user_profile, clerksync.schema_version to public, clerksync_reader;
        grant select on clerksync.webhook_delivery to clerksync_service with grant option;
        grant update (version_num) on clerksync.schema_version to {service}, clerksync_service;
        grant insert (name), references (id) on public.organization to {reader}, public;
        grant all on all sequences in schema clerksync to clerksync_service, {reader};
        grant create on schema clerksync, public to clerksync_service, clerksync_reader;
        grant clerksync_service to {service} with admin option;
        alter role clerksync_reader createrole createdb;
        revoke insert on public.organization from clerksync_service;
        """
    )

    done = run_script(empty_database, owner=owner, service=service, reader=reader)

    assert 0 == done.returncode, done.stderr
    assert RIGHTS_OF_THE_SERVICE == await rights_of(admin, logins.service)
    assert RIGHTS_OF_A_READER == await rights_of(admin, logins.reader)
    for login in (logins.service, logins.reader):
        names = await names_of(admin, logins, login)
        tried = {text: await refused(login, text.format(**names)) for text in [*SCHEMA_CHANGES, *WAYS_OUT]}
        assert dict.fromkeys(tried, "42501") == tried
    assert not await admin.fetchval(
        "select exists (select from pg_auth_members where admin_option and member = $1::regrole)"
        " or exists (select from aclexplode((select relacl from pg_class where relname = 'webhook_delivery')) as p"
        " where p.is_grantable and p.grantee = 'clerksync_service'::regrole)",
        service,
    )


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        ("grant {owner} to {other}; grant {other} to {reader}", "{reader} can become {owner}: revoke {owner} from "),
        ("grant {other} to clerksync_service", "clerksync_service, {service} can become {other}: revoke {other} from "),
        ("grant clerksync_service to clerksync_reader", "revoke clerksync_service from clerksync_reader"),
        ("grant pg_execute_server_program to clerksync_service", "revoke pg_execute_server_program from clerksync_se"),
        ("grant pg_read_all_data to {other}; grant {other} to {reader}", "revoke pg_read_all_data from {other}"),
        ("alter role {other} superuser; grant {other} to {reader}", "{reader} can become {other}: revoke {other} from"),
        (
            "grant truncate on public.organization to {other}; grant {other} to {reader}",
            "revoke truncate on public.o",
        ),
        (
            "alter function clerksync.claimed_org_id() owner to {reader}",
            "{reader} owns the function clerksync.claim",
        ),
        ("alter schema clerksync owner to {service}", "{service} owns the schema clerksync"),
    ],
)
async def test_the_script_fails_while_a_login_can_become_more(
    logins: Logins, admin: Any, empty_database: str, prepare: str, told: str
) -> None:
    """It says what to take from whom, changes nothing, and is content once that is done."""
    names = {part: getattr(logins, part).name for part in ("owner", "service", "reader")}
    other = names["other"] = f"other_{names['owner'].removeprefix('owner_')}"
    await admin.execute(f"create role {other}; grant insert on clerksync.schema_version to {names['service']}")
    given = {part: names[part] for part in ("owner", "service", "reader")}
    await admin.execute(prepare.format(**names))
    try:
        refusal = run_script(empty_database, **given)
        rights = await rights_of(admin, logins.service)
    finally:
        await admin.execute(
            f"alter schema clerksync owner to {names['owner']};"
            f"alter function clerksync.claimed_org_id() owner to {names['owner']};"
            f"drop owned by {other}; drop role {other};"
            "revoke pg_execute_server_program from clerksync_service; revoke clerksync_service from clerksync_reader"
        )
    again = run_script(empty_database, **given)

    assert 0 != refusal.returncode
    assert told.format(**names) in refusal.stderr
    assert {"SELECT", "INSERT"} <= rights["clerksync.schema_version"]
    assert 0 == again.returncode, again.stderr


async def test_a_membership_that_another_role_granted_is_taken_back_too(
    logins: Logins, admin: Any, empty_database: str
) -> None:
    """From Postgres 16 on each grantor's grant is one of its own."""
    service, reader, owner = logins.service.name, logins.reader.name, logins.owner.name
    await admin.execute(
        f"""
        create role giver_{owner}; grant {owner} to giver_{owner} with admin option;
        set role giver_{owner}; grant {owner} to {service}, {reader}; reset role;
        """
    )

    done = run_script(empty_database, owner=owner, service=service, reader=reader)

    assert 0 == done.returncode, done.stderr
    assert not await admin.fetchval("select pg_has_role($1, $2, 'member')", service, owner)


async def test_the_services_password_is_rotated_without_an_interruption(
    logins: Logins, admin: Any, empty_database: str, restricted_stack: Stack, start_stack: Any
) -> None:
    """A second login takes over while the first is at work; then the first goes, and its password opens nothing."""
    assert "applied" == (await restricted_stack.post(bodies.organization("created", "org_1", at=now_ms()))).outcome
    service = f"{logins.service.name}_2"
    done = run_script(empty_database, owner=logins.owner.name, service=service)
    assert 0 == done.returncode, done.stderr
    await admin.execute(f"alter role {service} password 'another'")
    url = logins.service.dsn.replace(f"{logins.service.name}:secret", f"{service}:another")

    second = await start_stack(DATABASE_URL=url)
    assert "applied" == (await second.post(bodies.organization("created", "org_2", at=now_ms()))).outcome
    assert "applied" == (await restricted_stack.post(bodies.organization("created", "org_3", at=now_ms()))).outcome
    await admin.execute(
        f"drop owned by {logins.service.name}; drop role {logins.service.name};"
        f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{logins.service.name}'"
    )

    assert "applied" == (await second.post(bodies.organization("created", "org_4", at=now_ms()))).outcome
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(logins.service.dsn)
    assert RIGHTS_OF_THE_SERVICE == await rights_of(admin, Login(service, url))


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "-v owner=NAME -v service=NAME"),
        ({"owner": "one_owner"}, "-v owner=NAME -v service=NAME"),
        ({"owner": "one_owner", "service": "one_owner"}, "have to be three roles"),
        ({"owner": "one_owner", "service": "one_service", "reader": "one_service"}, "have to be three roles"),
    ],
)
async def test_the_script_says_what_it_needs(empty_database: str, variables: dict[str, str], told: str) -> None:
    """And changes nothing without it."""
    refusal = run_script(empty_database, **variables)

    assert 0 != refusal.returncode
    assert told in refusal.stderr


async def test_the_owner_of_the_tables_cannot_be_named_as_the_service(logins: Logins, empty_database: str) -> None:
    """Whoever has run everything as one role keeps it as the owner, and names a new one for the service."""
    refusal = run_script(empty_database, owner=f"{logins.owner.name}_new", service=logins.owner.name)

    assert 0 != refusal.returncode
    assert f"{logins.owner.name} owns " in refusal.stderr


async def test_an_administrator_need_not_be_a_superuser(empty_database: str, admin: Any) -> None:
    """Who owns the database and may make roles runs it, before the migration and after."""
    name = f"admin_{empty_database[-8:]}"
    await admin.execute(
        f"create role {name} login createrole password 'secret';"
        f'alter database "{await admin.fetchval("select current_database()")}" owner to {name}'
    )
    for group in ("clerksync_service", "clerksync_reader"):
        if not await admin.fetchval("select exists (select from pg_roles where rolname = $1)", group):
            await admin.execute(f"create role {group}")
        await admin.execute(f"grant {group} to {name} with admin option")
    url = urlsplit(empty_database)
    dsn = url._replace(netloc=f"{name}:secret@{url.hostname}:{url.port}").geturl()

    made = await make_logins(dsn)
    await migrate(made.owner.dsn)
    again = run_script(dsn, owner=made.owner.name, service=made.service.name, reader=made.reader.name)

    assert 0 == again.returncode, again.stderr
    assert RIGHTS_OF_THE_SERVICE == await rights_of(admin, made.service)


async def test_names_may_need_quotes(empty_database: str, admin: Any) -> None:
    """Names come by way of variables, and none of them is taken for SQL."""
    name = f"o\"w'n er; drop {empty_database[-8:]}"

    done = run_script(empty_database, owner=name, service=f"s {name}")

    assert 0 == done.returncode, done.stderr
    assert 2 == await admin.fetchval("select count(*) from pg_roles where rolname in ($1, $2)", name, f"s {name}")
