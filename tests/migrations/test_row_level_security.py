"""Readers see the organization in their claims and no other, and only the service writes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from clerksync_server.database.migrate import current_revision, is_compatible, migrate

TABLES = ["public.organization", "public.user_profile"]
OWN_TABLES = ["membership_tombstone", "deleted_entity", "webhook_delivery", "schema_version"]
ROWS = """
insert into public.organization (clerk_org_id, name) values ('org_a', 'A'), ('org_b', 'B');
insert into public.user_profile (clerk_user_id, clerk_org_id)
values ('user_1', 'org_a'), ('user_2', 'org_a'), ('user_1', 'org_b');
"""


@asynccontextmanager
async def acting_as(connection: Any, role: str, claims: Any = None) -> AsyncIterator[None]:
    """A transaction with the rights of a role and the claims of a token, as an application's would be; rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"set local role {role}")
        if claims is not None:
            text = claims if isinstance(claims, str) else json.dumps(claims)
            await connection.execute("select set_config('request.jwt.claims', $1, true)", text)
        yield
    finally:
        await transaction.rollback()


async def visible(connection: Any) -> tuple[set[str], list[str]]:
    """The organizations and the members that can be seen."""
    organizations = await connection.fetch("select clerk_org_id from public.organization")
    members = await connection.fetch(
        "select clerk_user_id || ' ' || clerk_org_id as pair from public.user_profile order by 1"
    )
    return {row["clerk_org_id"] for row in organizations}, [row["pair"] for row in members]


NOTHING: tuple[set[str], list[str]] = (set(), [])
ORG_A = ({"org_a"}, ["user_1 org_a", "user_2 org_a"])
ORG_B = ({"org_b"}, ["user_1 org_b"])


@pytest.fixture
async def secured(empty_database: str, earlier: Any, own_roles: Any) -> Any:
    """A migrated database as on Supabase, where all roles have all rights on new tables, with two organizations."""
    await earlier.execute(
        f"""
        create role {own_roles.authenticated} nologin; create role {own_roles.anon} nologin;
        alter default privileges in schema public grant all on tables to {own_roles.authenticated}, {own_roles.anon};
        """
    )
    await migrate(empty_database)
    await earlier.execute(ROWS)
    return earlier


WRITES = [
    "insert into {table} (clerk_org_id) values ('org_a')",
    "update {table} set clerk_org_id = 'org_a' where clerk_org_id = 'org_a'",
    "delete from {table}",
    "truncate {table} cascade",
    "create trigger t before insert on {table} for each row execute function suppress_redundant_updates_trigger()",
    "alter table {table} disable row level security",
    "drop policy clerksync_read on {table}",
]
CLAIMS: list[tuple[Any, Any]] = [
    ({"sub": "user_1", "org_id": "org_a"}, ORG_A),
    ({"v": 2, "sub": "user_1", "o": {"id": "org_a", "rol": "admin"}}, ORG_A),
    ({"org_id": None, "o": {"id": "org_b"}}, ORG_B),
    ({"org_id": "", "o": {"id": "org_b"}}, ORG_B),
    ({"org_id": "org_unknown"}, NOTHING),
    ({"sub": "user_1"}, NOTHING),
    ({"sub": "user_1", "o": {}}, NOTHING),
    ({"o": "org_a"}, NOTHING),
    ({"org_id": ""}, NOTHING),
    ({"org_id": ["org_a"]}, NOTHING),
    ({"org_id": "org_a' or true --"}, NOTHING),
    ({}, NOTHING),
    ([], NOTHING),
    ("null", NOTHING),
    ("", NOTHING),
    (None, NOTHING),
]


@pytest.mark.parametrize("name", ["reader", "authenticated"])
async def test_a_reader_sees_the_organization_in_its_claims(secured: Any, own_roles: Any, name: str) -> None:
    """In the first and in the second form of Clerk's tokens; without an organization, nothing."""
    seen = []
    for claims, _ in CLAIMS:
        async with acting_as(secured, getattr(own_roles, name), claims):
            seen.append((claims, await visible(secured)))

    assert seen == CLAIMS


async def test_claims_end_with_their_transaction(secured: Any, own_roles: Any) -> None:
    """The next transaction of a pooled connection sees nothing until it brings claims of its own."""
    async with acting_as(secured, own_roles.reader, {"org_id": "org_a"}):
        assert ORG_A == await visible(secured)
    async with acting_as(secured, own_roles.reader):
        assert NOTHING == await visible(secured)
    async with acting_as(secured, own_roles.reader, {"org_id": "org_b"}):
        assert ORG_B == await visible(secured)


async def test_claims_that_are_no_json_show_nothing(secured: Any, own_roles: Any) -> None:
    """The query fails."""
    async with acting_as(secured, own_roles.reader, "{org_a"):
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await visible(secured)


async def test_who_is_not_logged_in_sees_nothing(secured: Any, own_roles: Any) -> None:
    """Not even with claims."""
    async with acting_as(secured, own_roles.anon, {"org_id": "org_a"}):
        assert NOTHING == await visible(secured)


@pytest.mark.parametrize("name", ["reader", "authenticated", "anon"])
async def test_a_reader_cannot_write(secured: Any, own_roles: Any, name: str) -> None:
    """Rights that Supabase gives on every new table are taken back."""
    for table in TABLES:
        for statement in WRITES:
            async with acting_as(secured, getattr(own_roles, name), {"org_id": "org_a"}):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await secured.execute(statement.format(table=table))


async def test_no_right_but_reading_is_left_to_readers(secured: Any, own_roles: Any) -> None:
    """Whatever rights this version of Postgres knows."""
    grants = await secured.fetch(
        """
        select distinct grantee::regrole::text as role, privilege_type from pg_class cross join aclexplode(relacl)
        where oid = any ($1::regclass[]::oid[]) and grantee = any ($2::regrole[]::oid[])
        """,
        TABLES, [own_roles.reader, own_roles.authenticated, own_roles.anon],
    )  # fmt: skip

    assert {
        (own_roles.reader, "SELECT"), (own_roles.authenticated, "SELECT"), (own_roles.anon, "SELECT")
    } == {tuple(row) for row in grants}  # fmt: skip


@pytest.mark.parametrize("name", ["reader", "authenticated", "anon"])
async def test_the_services_own_schema_is_closed(secured: Any, own_roles: Any, name: str) -> None:
    """Deliveries and removals are nobody's business."""
    for table in OWN_TABLES:
        async with acting_as(secured, getattr(own_roles, name), {"org_id": "org_a"}):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await secured.fetch(f"select from clerksync.{table}")


async def test_claims_are_read_once_for_a_query(secured: Any, own_roles: Any) -> None:
    """Not once for every row."""
    async with acting_as(secured, own_roles.reader, {"org_id": "org_a"}):
        plan = "\n".join(row[0] for row in await secured.fetch("explain select from public.user_profile"))

    assert "InitPlan" in plan


@pytest.fixture
async def service(secured: Any, own_roles: Any, empty_database: str, dsn_as: Any) -> AsyncIterator[Any]:
    """A connection of the service's login, which is a member of its role and owns nothing."""
    login = f"login_{own_roles.service}"
    await secured.execute(f"create role {login} login password 'secret' in role {own_roles.service}")
    connection = await asyncpg.connect(dsn_as(empty_database, login, "secret"), statement_cache_size=0)
    yield connection
    await connection.close()


async def test_the_service_reads_and_writes_everything(service: Any) -> None:
    """Without claims, in both schemas."""
    assert ({"org_a", "org_b"}, ["user_1 org_a", "user_1 org_b", "user_2 org_a"]) == await visible(service)

    await service.execute(
        """
        insert into public.organization (clerk_org_id, name) values ('org_c', 'C')
        on conflict (clerk_org_id) do update set name = excluded.name;
        insert into public.user_profile (clerk_user_id, clerk_org_id) values ('user_3', 'org_c');
        update public.organization set name = 'New';
        update public.user_profile set role = 'org:member';
        delete from public.organization where clerk_org_id = 'org_a';
        insert into clerksync.deleted_entity (kind, clerk_id, deleted_at) values ('organization', 'org_a', now());
        insert into clerksync.membership_tombstone values ('user_1', 'org_a', now(), '', now());
        insert into clerksync.webhook_delivery (svix_id, attempted_at, received_at, outcome, body_sha256)
        values ('msg_1', now(), now(), 'applied', '');
        update clerksync.webhook_delivery set outcome = 'stale';
        delete from clerksync.webhook_delivery;
        insert into clerksync.removal (clerk_org_id) values ('org_a');
        delete from clerksync.removal;
        insert into clerksync.removal_epoch default values on conflict do nothing;
        select from clerksync.removal, clerksync.removal_epoch;
        """
    )

    assert ({"org_b", "org_c"}, ["user_1 org_b", "user_3 org_c"]) == await visible(service)
    assert is_compatible(await current_revision(service))


SCHEMA_CHANGES = [
    "alter table public.user_profile disable row level security",
    "alter table public.user_profile add column note text",
    "alter table clerksync.deleted_entity drop constraint deleted_entity_kind_check",
    "drop policy clerksync_read on public.organization",
    "truncate public.user_profile",
    "drop table clerksync.webhook_delivery",
    "create table clerksync.note ()",
    "update clerksync.schema_version set version_num = '0001'",
    "create or replace function clerksync.claimed_org_id() returns text language sql as 'select null::text'",
]


async def test_the_service_cannot_change_the_schema(service: Any) -> None:
    """That is left to whoever migrates."""
    for statement in SCHEMA_CHANGES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(statement)


async def test_ids_from_a_sequence_are_at_the_services_hand(empty_database: str, earlier: Any, own_roles: Any) -> None:
    """An adopted table may number its rows."""
    await earlier.execute(
        "create table organization (id bigserial primary key, clerk_org_id text);"
        "create table user_profile (id int generated always as identity, clerk_user_id text, clerk_org_id text);"
    )
    await migrate(empty_database)

    async with acting_as(earlier, own_roles.service):
        await earlier.execute(ROWS)
        assert ["1", "2"] == [
            row["id"] for row in await earlier.fetch("select id::text as id from public.organization")
        ]


async def test_earlier_policies_do_not_widen_what_readers_see(
    empty_database: str, earlier: Any, own_roles: Any
) -> None:
    """They are kept, for whoever else needs them, and told about."""
    await earlier.execute(
        f"""
        create role {own_roles.anon} nologin; create role other_{own_roles.reader} nologin;
        create table organization (id uuid primary key default gen_random_uuid(), clerk_org_id text);
        create table user_profile (
            id uuid primary key default gen_random_uuid(), clerk_user_id text, clerk_org_id text
        );
        alter table organization enable row level security; alter table user_profile enable row level security;
        create policy everybody on organization using (true);
        create policy "Every member" on user_profile for select using (true);
        grant all on organization, user_profile to {own_roles.anon}, other_{own_roles.reader};
        """
    )
    with capture_logs() as logs:
        await migrate(empty_database)
    await earlier.execute(ROWS)

    async with acting_as(earlier, own_roles.reader, {"org_id": "org_a"}):
        assert ORG_A == await visible(earlier)
    async with acting_as(earlier, own_roles.anon):
        assert NOTHING == await visible(earlier)
    async with acting_as(earlier, f"other_{own_roles.reader}"):
        assert 2 == len((await visible(earlier))[0])
    assert [
        "public.organization keeps its earlier policies everybody: they no longer widen what readers see",
        'public.user_profile keeps its earlier policies "Every member": they no longer widen what readers see',
    ] == sorted(entry["message"] for entry in logs)


async def test_roles_that_will_see_nothing_are_named(empty_database: str, earlier: Any, own_roles: Any) -> None:
    """Where there was no row-level security before, an application that reads as another role has to be told."""
    await earlier.execute(
        f"""
        create role app_{own_roles.reader} nologin;
        create table organization (id uuid primary key, clerk_org_id text);
        grant select, update on organization to app_{own_roles.reader};
        """
    )
    with capture_logs() as logs:
        await migrate(empty_database)

    assert [
        "public.organization now has row-level security: these roles see no rows until you grant them "
        f"{own_roles.reader}, or make policies for them: app_{own_roles.reader}"
    ] == [entry["message"] for entry in logs]
