"""The logins that roles.sql makes: the service does all its work, and neither it nor a reader can do more."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import bodies
import grpc
import pytest
from cryptography.fernet import Fernet
from database.logins import Login, Logins, make_logins, run_script
from running import run, until
from stack import Stack, error_info, now_ms, timestamp_of
from watching import Watch

from clerksync.v1 import delivery_service_pb2, resources_pb2, sync_service_pb2
from clerksync_server.database.connection import Database
from clerksync_server.database.migrate import migrate
from clerksync_server.sync.body_keys import BodyKeys
from clerksync_server.sync.reencryption import reencrypt
from clerksync_server.sync.retention import Retention

ALL_RIGHTS = {"SELECT", "INSERT", "UPDATE", "DELETE"}
RIGHTS_OF_THE_SERVICE = {
    "public.organization": ALL_RIGHTS,
    "public.user_profile": ALL_RIGHTS,
    "clerksync.membership_tombstone": ALL_RIGHTS,
    "clerksync.deleted_entity": ALL_RIGHTS - {"DELETE"},
    "clerksync.webhook_delivery": ALL_RIGHTS,
    "clerksync.removal": ALL_RIGHTS - {"UPDATE"},
    "clerksync.removal_epoch": {"SELECT", "INSERT"},
    "clerksync.schema_version": {"SELECT"},
}
RIGHTS_OF_A_READER = {"public.organization": {"SELECT"}, "public.user_profile": {"SELECT"}}
TABLES = list(RIGHTS_OF_THE_SERVICE)

# What nobody but the owner, or an administrator, may do.
SCHEMA_CHANGES = [
    "alter table public.user_profile add column note text",
    "alter table public.user_profile disable row level security",
    "alter table public.organization no force row level security",
    "alter table clerksync.deleted_entity drop constraint deleted_entity_kind_check",
    "alter table clerksync.webhook_delivery disable trigger all",
    "drop policy clerksync_read on public.organization",
    "alter policy clerksync_read_no_other on public.user_profile using (true)",
    "create policy more on public.user_profile using (true)",
    "drop table clerksync.webhook_delivery",
    "drop table public.user_profile",
    "drop schema clerksync cascade",
    "alter schema clerksync rename to other",
    "create table clerksync.note ()",
    "create table public.note ()",
    "create view public.note as select 1",
    "create function public.note() returns int language sql as 'select 1'",
    "create function clerksync.note() returns int language sql as 'select 1'",
    "create or replace function clerksync.claimed_org_id() returns text language sql as 'select null::text'",
    "create index on public.user_profile (role)",
    "create trigger t before insert on public.user_profile execute function suppress_redundant_updates_trigger()",
    "create rule r as on insert to public.user_profile do instead nothing",
    "create schema note",
    "create extension pg_trgm",
    "truncate public.user_profile",
    "truncate public.organization cascade",
    "truncate clerksync.webhook_delivery",
    "update clerksync.schema_version set version_num = '0001'",
    "delete from clerksync.schema_version",
    "delete from clerksync.deleted_entity",
    "update clerksync.removal set logged_at = now()",
    "delete from clerksync.removal_epoch",
    "comment on table public.user_profile is 'mine'",
]
WAYS_OUT = [
    "set role {owner}",
    "set session authorization {owner}",
    "set role {admin}",
    "grant {owner} to {self}",
    "alter role {self} superuser",
    "alter role {self} bypassrls",
    "alter role {self} createrole",
    "alter role {owner} password 'mine'",
    "create role {self}_more",
    "create database {self}_more",
    "alter database {database} owner to {self}",
    "alter system set ssl = off",
    "reassign owned by {owner} to {self}",
    "copy public.user_profile to '/tmp/profiles'",
    "copy public.user_profile to program 'cat'",
    "select pg_read_file('PG_VERSION')",
    "select rolpassword from pg_authid",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{admin}'",
    "set session_replication_role = replica",
]
OF_THE_SERVICE = ["set row_security = off; select from public.user_profile", "set role clerksync_reader"]
OF_A_READER = [
    *(f"select from {table}" for table in TABLES if table.startswith("clerksync.")),
    *(f"delete from {table}" for table in TABLES),
    "insert into public.organization (clerk_org_id, name) values ('org_a', 'A')",
    "insert into public.user_profile (clerk_user_id, clerk_org_id) values ('user_1', 'org_a')",
    "update public.user_profile set role = 'org:admin'",
    "update public.organization set settings = '{{}}'",
    "begin; lock table public.user_profile in access exclusive mode",
    "select from public.user_profile for update",
    "set row_security = off; select from public.user_profile",
    "set role clerksync_service",
]


@pytest.fixture
async def logins(empty_database: str) -> Logins:
    """A database that its owner has migrated, who is no superuser and may make no roles."""
    made = await make_logins(empty_database)
    await migrate(made.owner.dsn)
    return made


@pytest.fixture
async def admin(empty_database: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(empty_database, statement_cache_size=0)
    yield opened
    await opened.close()


async def rights_of(admin: Any, login: Login) -> dict[str, set[str]]:
    """What a login may do to each table of ours, and to others in the two schemas."""
    rows = await admin.fetch(
        """
        select n.nspname || '.' || t.relname as table, privilege
        from pg_class as t
        join pg_namespace as n on n.oid = t.relnamespace
        cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
            as privilege
        where t.relkind in ('r', 'v', 'S') and n.nspname in ('public', 'clerksync')
            and case when t.relkind <> 'S' then has_table_privilege($1, t.oid, privilege)
                else privilege = 'UPDATE' and has_sequence_privilege($1, t.oid, 'usage, select, update') end
        """,
        login.name,
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["table"], set()).add(row["privilege"])
    return found


async def test_the_service_has_the_rights_it_needs_and_no_others(logins: Logins, admin: Any) -> None:
    """A table of a later migration has to be added here, with what the service is to do to it."""
    assert RIGHTS_OF_THE_SERVICE == await rights_of(admin, logins.service)
    assert RIGHTS_OF_A_READER == await rights_of(admin, logins.reader)


async def refused(login: Login, statement: str) -> str | None:
    """What a login is told when it tries a statement, None if nothing stops it; undone either way."""
    connection = await asyncpg.connect(login.dsn, statement_cache_size=0)
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        return error.sqlstate
    except asyncpg.PostgresError as error:
        return f"{error.sqlstate} {error.message}"
    finally:
        await connection.close()
    return None


async def test_what_the_service_may_not_do_is_refused(logins: Logins, admin: Any) -> None:
    """Changes of schema and policies, what is final, and every way to become somebody else."""
    names = await names_of(admin, logins, logins.service)

    tried = {
        text: await refused(logins.service, text.format(**names))
        for text in [*SCHEMA_CHANGES, *WAYS_OUT, *OF_THE_SERVICE]
    }

    assert dict.fromkeys(tried, "42501") == tried


async def test_what_a_reader_may_not_do_is_refused(logins: Logins, admin: Any) -> None:
    """All of that, writing, and reading what is the service's own."""
    names = await names_of(admin, logins, logins.reader)

    tried = {
        text: await refused(logins.reader, text.format(**names)) for text in [*SCHEMA_CHANGES, *WAYS_OUT, *OF_A_READER]
    }

    assert dict.fromkeys(tried, "42501") == tried


async def test_neither_can_pass_its_rights_on(logins: Logins, admin: Any) -> None:
    """Postgres only warns about it, and grants nothing."""
    for login in (logins.service, logins.reader):
        connection = await asyncpg.connect(login.dsn)
        await connection.execute("grant select on public.user_profile to public")
        await connection.close()

    assert not await admin.fetchval(
        "select exists (select from pg_class, aclexplode(relacl) where oid = 'public.user_profile'::regclass "
        "and grantee = 0)"
    )


async def names_of(admin: Any, logins: Logins, login: Login) -> dict[str, str]:
    return {
        "self": login.name,
        "owner": logins.owner.name,
        "admin": await admin.fetchval("select current_user"),
        "database": await admin.fetchval("select current_database()"),
    }


async def test_a_reader_sees_the_organization_in_its_claims_and_no_other(logins: Logins, admin: Any) -> None:
    """As in the tests of row-level security, by the login that the script makes."""
    await admin.execute("insert into public.organization (clerk_org_id, name) values ('org_a', 'A'), ('org_b', 'B')")
    reader = await asyncpg.connect(logins.reader.dsn)
    try:
        assert [] == await reader.fetch("select clerk_org_id from public.organization")
        await reader.execute("""set request.jwt.claims = '{"org_id": "org_b"}'""")
        seen = await reader.fetch("select clerk_org_id from public.organization")
        assert ["org_b"] == [row["clerk_org_id"] for row in seen]
    finally:
        await reader.close()


@pytest.fixture
async def stack(logins: Logins, start_stack: Any) -> Stack:
    """SyncService and the front, connected as the service's login."""
    key = Fernet.generate_key().decode()
    started: Stack = await start_stack(DATABASE_URL=logins.service.dsn, CLERKSYNC_QUARANTINE_KEY=key)
    return started


async def test_the_service_does_all_its_work_with_these_rights(stack: Stack, logins: Logins, admin: Any) -> None:
    """All nine events, Ensure alone and in batches, a stream of removals, explanations, quarantine, and forgetting."""
    t = now_ms()
    await until(lambda: stack.application._lifecycle.ready, 5)
    async with Watch(stack) as watch:
        await watch.begun()
        told = [
            bodies.organization("created", "org_1", at=t),
            bodies.organization("updated", "org_1", at=t + 1, name="New"),
            bodies.membership("created", "user_1", "org_1", at=t + 2, joined_at=t + 2),
            bodies.membership("updated", "user_1", "org_1", at=t + 3, joined_at=t + 2, role="org:admin"),
            bodies.user("created", "user_2", at=t + 4),
            bodies.user("updated", "user_2", at=t + 5),
            bodies.membership("created", "user_2", "org_1", at=t + 6, joined_at=t + 6),
            bodies.membership("deleted", "user_1", "org_1", at=t + 7, joined_at=t + 2),
            bodies.user("deleted", "user_2", at=t + 8),
        ]
        assert ["applied"] * 9 == [(await stack.post(body)).outcome for body in told]
        await watch.told(("user_1", "org_1"), ("user_2", ""))
        await ensure_everything(stack, t)
        assert "applied" == (await stack.post(bodies.organization("deleted", "org_1", at=t + 60))).outcome
        await watch.told(("user_1", "org_1"), ("user_2", ""), ("", "org_1"))
    await quarantine_and_redrive(stack, logins, admin, t)
    await explain_and_forget(stack, logins, admin)


async def ensure_everything(stack: Stack, t: int) -> None:
    """Alone, again, refused, in a batch, and an organization by itself."""
    assert (await stack.ensure_profile("user_3", "org_1", t + 50)).user_profile.clerk_user_id == "user_3"
    assert (await stack.ensure_profile("user_3", "org_1", t + 50)).user_profile.clerk_org_id == "org_1"
    assert (await stack.ensure_organization("org_2", t + 50)).organization.clerk_org_id == "org_2"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.ensure_profile("user_2", "org_1", t + 50)
    assert "USER_DELETED" == error_info(caught.value).reason
    asked = [
        sync_service_pb2.EnsureUserProfileRequest(
            clerk_user_id=f"user_b{number}", clerk_org_id="org_3", token_issued_at=timestamp_of(t)
        )
        for number in range(70)
    ]
    made = await stack.sync.BatchEnsureUserProfiles(
        sync_service_pb2.BatchEnsureUserProfilesRequest(requests=asked), timeout=10
    )
    assert 70 == len([each for each in made.results if each.response.user_profile.id])


async def quarantine_and_redrive(stack: Stack, logins: Logins, admin: Any, t: int) -> None:
    """What is not understood, what the application refuses until it is mended, and a new key for what stays."""
    await admin.execute(
        "create table public.invoice (clerk_org_id text references public.organization (clerk_org_id));"
        "insert into public.invoice values ('org_3')"
    )
    assert "quarantined" == (await stack.post(b"not understood", svix_id="msg_bad")).outcome
    gone = bodies.organization("deleted", "org_3", at=t + 70)
    assert "quarantined" == (await stack.post(gone, svix_id="msg_refused")).outcome
    await admin.execute("drop table public.invoice")
    request = delivery_service_pb2.RedriveDeliveryRequest(svix_id="msg_refused")
    assert resources_pb2.DELIVERY_OUTCOME_APPLIED == (await stack.deliveries.RedriveDelivery(request)).delivery.outcome
    listed = await stack.deliveries.ListDeliveries(delivery_service_pb2.ListDeliveriesRequest(page_size=100))
    assert {"msg_bad", "msg_refused"} < {delivery.svix_id for delivery in listed.deliveries}
    database = Database(logins.service.dsn, pool_size=1)
    await database.open()
    try:
        another = await reencrypt(database, BodyKeys([Fernet.generate_key().decode()]))
        assert (0, ("msg_bad",)) == (another.done, another.unreadable)
    finally:
        await database.close()


async def explain_and_forget(stack: Stack, logins: Logins, admin: Any) -> None:
    """Everything that is old enough by then."""
    pair = sync_service_pb2.ExplainUserProfileRequest(clerk_user_id="user_1", clerk_org_id="org_1")
    assert (await stack.sync.ExplainUserProfile(pair, timeout=10)).SerializeToString()
    await admin.execute("update clerksync.webhook_delivery set received_at = now() - interval '9 days'")
    await admin.execute("delete from clerksync.webhook_delivery where outcome = 'quarantined'")
    await admin.execute("update clerksync.membership_tombstone set removed_at = now() - interval '9 days'")
    await admin.execute("update clerksync.removal set logged_at = now() - interval '9 days'")
    database = Database(logins.service.dsn, pool_size=1)
    await database.open()
    try:
        kept = timedelta(days=2)
        pruned = await Retention(database, deliveries_kept=kept, tombstones_kept=kept).prune()
    finally:
        await database.close()
    assert pruned.deliveries >= 11
    assert 1 == pruned.tombstones
    assert pruned.removals >= 4


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


async def test_names_may_need_quotes(empty_database: str, admin: Any) -> None:
    """Names come by way of variables, and none of them is taken for SQL."""
    name = f"o\"w'n er; drop {empty_database[-8:]}"

    done = run_script(empty_database, owner=name, service=f"s {name}")

    assert 0 == done.returncode, done.stderr
    assert 2 == await admin.fetchval("select count(*) from pg_roles where rolname in ($1, $2)", name, f"s {name}")
