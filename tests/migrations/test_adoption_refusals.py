"""What cannot be adopted without losing something is refused: by a clear text, and before anything has changed."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from clerksync_server.database.migrate import MigrationError, migrate

ORGANIZATION = "create table organization (id uuid primary key, clerk_org_id text, name text, slug text);"
USER_PROFILE = "create table user_profile (id uuid primary key, clerk_user_id text, clerk_org_id text, role text);"
BOTH = ORGANIZATION + USER_PROFILE
PROFILES = """
insert into user_profile (id, clerk_user_id, clerk_org_id)
values (gen_random_uuid(), 'user_secret', 'org_a'), (gen_random_uuid(), 'user_secret', 'org_a');
"""
ORGANIZATIONS = """
insert into organization (id, clerk_org_id)
values (gen_random_uuid(), 'org_secret'), (gen_random_uuid(), 'org_secret');
"""

CASES: dict[str, tuple[str, list[str]]] = {
    "the same pair twice": (
        BOTH + PROFILES,
        [
            "public.user_profile has several rows with the same clerk_org_id, clerk_user_id",
            "group by clerk_org_id, clerk_user_id having count(*) > 1;",
        ],
    ),
    "the same organization twice": (
        BOTH + ORGANIZATIONS,
        [
            "public.organization has several rows with the same clerk_org_id",
            "select clerk_org_id, count(*) from public.organization group by clerk_org_id having count(*) > 1;",
        ],
    ),
    "the same id twice": (
        "create table organization (id int default 1, clerk_org_id text);"
        "insert into organization (clerk_org_id) values ('org_a'), ('org_b');",
        ["public.organization has several rows with the same id"],
    ),
    "a row without an id": (
        "create table organization (id int default 1, clerk_org_id text);"
        "insert into organization values (null, 'org_a');",
        ["public.organization has rows without an id"],
    ),
    "rows marked as gone": (
        BOTH + "alter table user_profile add deleted_at timestamptz;"
        "insert into user_profile values (gen_random_uuid(), 'user_1', 'org_a', null, now());",
        ["public.user_profile has rows that deleted_at marks as gone", "where deleted_at is not null;"],
    ),
    "a column that clerksync cannot fill": (
        BOTH + "alter table user_profile add tenant_id uuid not null;",
        [
            "public.user_profile.tenant_id must not be null and has no default",
            "alter table public.user_profile alter column tenant_id drop not null;",
        ],
    ),
    "an id that nothing makes": (
        "create table organization (id text primary key, clerk_org_id text);",
        ["public.organization.id must not be null and has no default"],
    ),
    "no key columns": (
        'create table user_profile (id uuid primary key, "clerkUserId" text);',
        ["public.user_profile has no column clerk_user_id", "public.user_profile has no column clerk_org_id"],
    ),
    "a view": (
        ORGANIZATION + "alter table organization rename to orgs; create view organization as select * from orgs;",
        ["public.organization is not an ordinary, permanent table"],
    ),
    "an unlogged table": (
        "create unlogged table organization (id uuid primary key, clerk_org_id text);",
        ["public.organization is not an ordinary, permanent table"],
    ),
    "a partitioned table": (
        "create table organization (id uuid, clerk_org_id text) partition by hash (clerk_org_id);",
        ["public.organization is not an ordinary, permanent table"],
    ),
    "a foreign key to users": (
        BOTH + "create table users (id text primary key);"
        "alter table user_profile add constraint profile_user foreign key (clerk_user_id) references users;",
        [
            "the foreign key profile_user of public.user_profile could refuse what Clerk sends",
            "alter table public.user_profile drop constraint profile_user;",
        ],
    ),
    "a foreign key of the organization": (
        BOTH + "create table organization_cache (id text primary key);"
        "alter table organization add constraint cached foreign key (clerk_org_id) references organization_cache;",
        ["the foreign key cached of public.organization could refuse what Clerk sends"],
    ),
    "a check of roles": (
        BOTH + "alter table user_profile add constraint known_role check (role in ('admin', 'member'));",
        ["the check known_role of public.user_profile could refuse what Clerk sends"],
    ),
    "one organization for each user": (
        BOTH + "create unique index one_organization on user_profile (clerk_user_id);",
        [
            "the unique index one_organization of public.user_profile could refuse",
            "drop index public.one_organization;",
        ],
    ),
    "unique names": (
        BOTH + "alter table organization add constraint one_name unique (name, slug);",
        ["the unique index one_name of public.organization could refuse", "drop constraint one_name;"],
    ),
    "a type that is no text": (
        "create table organization (id uuid primary key, clerk_org_id uuid, settings text, created_at bigint);",
        [
            "public.organization.clerk_org_id is of type uuid", "convert it to text",
            "public.organization.settings is of type text", "public.organization.created_at is of type bigint",
        ],
    ),
    "a generated column": (
        "create table organization (id uuid primary key, clerk_org_id text,"
        " slug text generated always as (lower(clerk_org_id)) stored);",
        ["public.organization.slug is generated, of type text"],
    ),
    "a view of a column that has to change": (
        "create table user_profile (id uuid primary key, clerk_user_id varchar(50), clerk_org_id text);"
        "create view people as select clerk_user_id from user_profile;",
        [
            "public.user_profile.clerk_user_id has to become text, and this uses it: view public.people",
            "drop it, migrate, and create it again",
        ],
    ),
    "a policy on a column that has to change": (
        "create table user_profile (id uuid primary key, clerk_user_id varchar(50), clerk_org_id text);"
        "create policy own on user_profile using (clerk_user_id = current_user);",
        ["clerk_user_id has to become text, and this uses it: policy own on table public.user_profile"],
    ),
    "a column with a name of clerksync's": (
        BOTH + "alter table user_profile add clerk_membership_id text;",
        [
            "public.user_profile.clerk_membership_id has a name that clerksync needs",
            "rename column clerk_membership_id to earlier_clerk_membership_id;",
        ],
    ),
    "an index with a name of clerksync's": (
        BOTH + "create index user_profile_clerk_org_id_idx on user_profile (clerk_org_id) where role = 'admin';",
        ["the name user_profile_clerk_org_id_idx", "is taken", "index public.user_profile_clerk_org_id_idx"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_it_is_refused_and_nothing_is_changed(
    empty_database: str, earlier: Any, everything: Any, case: str
) -> None:
    """The text says what is wrong and what to do, holds no values of rows, and leaves the database as it was."""
    set_up, texts = CASES[case]
    await earlier.execute(set_up)
    before = await everything(earlier)

    with pytest.raises(MigrationError) as refusal:
        await migrate(empty_database)

    assert [text for text in texts if text not in str(refusal.value)] == []
    assert "secret" not in str(refusal.value)
    assert before == await everything(earlier)


async def test_everything_that_is_wrong_with_the_tables_is_told_at_once(empty_database: str, earlier: Any) -> None:
    """Problems and remedies are numbered alike."""
    await earlier.execute(
        BOTH + "alter table user_profile add tenant_id uuid not null, add constraint r check (role <> '');"
    )

    with pytest.raises(MigrationError) as refusal:
        await migrate(empty_database)

    assert str(refusal.value).splitlines() == [
        "0001_check_earlier_tables.sql: the tables of an earlier set-up cannot be adopted as they are; "
        "nothing was changed:",
        "1. public.user_profile.tenant_id must not be null and has no default: clerksync cannot fill it",
        "2. the check r of public.user_profile could refuse what Clerk sends",
        "1. give it a default, or: alter table public.user_profile alter column tenant_id drop not null;",
        "2. alter table public.user_profile drop constraint r;",
        "Then run the migration again.",
    ]


@pytest.mark.parametrize("case", ["the same pair twice", "a check of roles", "one organization for each user"])
async def test_what_the_hint_says_helps(empty_database: str, earlier: Any, case: str) -> None:
    """After the remedy the same tables are adopted."""
    await earlier.execute(CASES[case][0])
    with pytest.raises(MigrationError):
        await migrate(empty_database)

    await earlier.execute(
        """
        delete from user_profile as p using user_profile as o where p.clerk_user_id = o.clerk_user_id and p.id > o.id;
        alter table user_profile drop constraint if exists known_role;
        drop index if exists one_organization;
        """
    )

    assert await migrate(empty_database) != []


async def test_a_warning_of_a_trigger_shows_no_values(empty_database: str, earlier: Any) -> None:
    """Nor does the log repeat what triggers warn of, while it tells that they did."""
    await earlier.execute(
        BOTH
        + """
        create function warn() returns trigger language plpgsql as
        $$ begin raise warning 'oh %', new.clerk_org_id; return new; end $$;
        create trigger warn before insert on organization for each row execute function warn();
        insert into user_profile values (gen_random_uuid(), 'user_1', 'org_secret');
        """
    )

    with capture_logs() as lines:
        await migrate(empty_database)

    assert "a function or trigger" in str(lines)
    assert "secret" not in str(lines)


@pytest.mark.parametrize("errcode", ["P0001", "ZZ001", "CS001", "42501", "23514"])
async def test_an_error_of_a_trigger_shows_no_values(
    empty_database: str, earlier: Any, everything: Any, errcode: str
) -> None:
    """What the application's triggers say, by whatever code, may hold values of rows: it is left out."""
    await earlier.execute(
        BOTH
        + f"""
        create function refuse() returns trigger language plpgsql as
        $$ begin
            raise exception 'no %', new.clerk_org_id using
                detail = new.clerk_org_id, hint = new.clerk_org_id, constraint = new.clerk_org_id,
                errcode = '{errcode}';
        end $$;
        create trigger refuse before insert on organization for each row execute function refuse();
        insert into user_profile values (gen_random_uuid(), 'user_1', 'org_secret');
        """
    )
    before = await everything(earlier)

    with pytest.raises(
        MigrationError, match=r"0003_create_tables.sql: the database refused a change of its rows"
    ) as refusal:
        await migrate(empty_database)

    assert "secret" not in str(refusal.value)
    assert before == await everything(earlier)
