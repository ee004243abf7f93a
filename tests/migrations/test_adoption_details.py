"""The particulars of adoption: values that have to change, missing organizations, and what is the application's."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from clerksync_server.database.migrate import migrate

ORGANIZATION = (
    "create table organization (id uuid primary key default gen_random_uuid(), clerk_org_id text unique, name text);"
)
USER_PROFILE = (
    "create table user_profile (id uuid primary key default gen_random_uuid(), clerk_user_id text, clerk_org_id text);"
)
BOTH = ORGANIZATION + USER_PROFILE


async def test_times_without_a_zone_are_read_as_utc(empty_database: str, earlier: Any, rows: Any) -> None:
    """Whatever zone the database shows times in, a time without one meant UTC; a date is its first moment."""
    await earlier.execute(
        ORGANIZATION
        + """
        alter table organization add created_at timestamp default localtimestamp, add updated_at date;
        insert into organization (clerk_org_id, name, created_at, updated_at)
        values ('org_a', 'A', '2024-05-06 07:08:09.123', '2024-05-07');
        """
    )
    database = await earlier.fetchval("select current_database()")
    await earlier.execute(f"alter database {database} set timezone = 'Asia/Tokyo'")

    await migrate(empty_database)

    times = "created_at at time zone 'UTC' as created_at, updated_at at time zone 'UTC' as updated_at"
    assert await rows(earlier, "organization", times) == [
        {"created_at": "2024-05-06T07:08:09.123", "updated_at": "2024-05-07T00:00:00"}
    ]


async def test_what_must_not_be_null_is_filled(empty_database: str, earlier: Any, rows: Any) -> None:
    """Settings become an empty object, and a missing name the organization's id, which makes it a placeholder."""
    await earlier.execute(
        ORGANIZATION
        + """
        alter table organization add settings json default '{"plan": "free"}', add created_at timestamptz;
        insert into organization (clerk_org_id, name, settings)
        values ('org_a', 'A', null), ('org_b', null, '{"a": 1}');
        """
    )

    await migrate(empty_database)

    assert await rows(
        earlier, "organization", "clerk_org_id, name, settings, is_placeholder, created_at is not null as has_time"
    ) == [
        {"clerk_org_id": "org_a", "name": "A", "settings": {}, "is_placeholder": False, "has_time": True},
        {"clerk_org_id": "org_b", "name": "org_b", "settings": {"a": 1}, "is_placeholder": True, "has_time": True},
    ]
    await earlier.execute("insert into organization (clerk_org_id, name) values ('org_c', 'C')")
    assert await earlier.fetchval("select settings from organization where name = 'C'") == '{"plan": "free"}'


@pytest.mark.parametrize(
    ("columns", "evidence"),
    [
        ("created_at timestamptz default '2024-05-06 07:08:09+00'", "2024-05-06T07:08:09"),
        ("created_at timestamp default '2024-05-06 07:08:09'", "2024-05-06T07:08:09"),
        ("created_at timestamptz", "1970-01-01T00:00:00"),
        ("joined timestamptz default '2024-05-06 07:08:09+00'", "1970-01-01T00:00:00"),
    ],
)
async def test_a_profile_becomes_provisional(
    empty_database: str, earlier: Any, rows: Any, columns: str, evidence: str
) -> None:
    """It rests on the time at which it was made, or on the beginning of time: any later removal ends it."""
    await earlier.execute(
        f"""
        {BOTH}
        alter table user_profile add {columns};
        insert into user_profile (clerk_user_id, clerk_org_id) values ('user_1', 'org_a');
        """
    )

    await migrate(empty_database)

    assert await rows(earlier, "user_profile", "clerk_membership_id, evidence_at at time zone 'UTC' as evidence") == [
        {"clerk_membership_id": None, "evidence": evidence}
    ]


async def test_a_profile_from_the_future_rests_on_today(empty_database: str, earlier: Any) -> None:
    """A clock that was wrong does not shield a profile from its removal."""
    await earlier.execute(
        BOTH + "alter table user_profile add created_at timestamptz;"
        "insert into user_profile values (gen_random_uuid(), 'user_1', 'org_a', now() + interval '1 year');"
    )

    await migrate(empty_database)

    assert await earlier.fetchval("select evidence_at <= now() from user_profile")


async def test_rows_without_clerks_ids_stay(empty_database: str, earlier: Any, rows: Any) -> None:
    """They are kept and told about, and only then may the column be null."""
    await earlier.execute(BOTH + "insert into user_profile (clerk_user_id) values (null), ('user_1');")

    with capture_logs() as logs:
        await migrate(empty_database)

    assert await rows(earlier, "user_profile where clerk_user_id > ''", "clerk_user_id") == [
        {"clerk_user_id": "user_1"}
    ]
    assert await earlier.fetchval("select count(*) from user_profile") == 2
    assert {
        "public.user_profile has rows without clerk_user_id: they are kept, and no reader sees them",
        "public.user_profile has rows without clerk_org_id: they are kept, and no reader sees them",
    } == {entry["message"] for entry in logs}


CACHES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("select", {"name": "org_lost", "slug": None, "image_url": None}),
    "with everything": (
        """
        create table organization_cache (clerk_org_id text, name varchar(9), slug text, image_url text);
        insert into organization_cache values
            ('org_lost', 'Lost', 'lost', 'https://img'), ('org_a', 'Other', 'a', '');
        """,
        {"name": "Lost", "slug": "lost", "image_url": "https://img"},
    ),
    "with the name, twice": (
        """
        create table organization_cache (id uuid, organization_id varchar(50), name text);
        insert into organization_cache values (null, 'org_lost', 'Lost'), (null, 'org_lost', 'Lost');
        """,
        {"name": "Lost", "slug": None, "image_url": None},
    ),
    "without a name": (
        """
        create table organization_cache (id text primary key, name text, slug text);
        insert into organization_cache values ('org_lost', '', 'lost');
        """,
        {"name": "org_lost", "slug": "lost", "image_url": None},
    ),
    "of another kind": (
        "create table organization_cache (payload jsonb); insert into organization_cache values ('{}');",
        {"name": "org_lost", "slug": None, "image_url": None},
    ),
}


@pytest.mark.parametrize("cache", CACHES)
async def test_a_missing_organization_gets_a_placeholder(
    empty_database: str, earlier: Any, rows: Any, everything: Any, cache: str
) -> None:
    """What organization_cache knows of it is taken over, and the cache itself stays as it was."""
    tables, expected = CACHES[cache]
    await earlier.execute(BOTH + tables)
    await earlier.execute(
        """
        create table user_organization (user_id text, organization_id text);
        insert into user_organization values ('user_9', 'org_lost');
        insert into organization (clerk_org_id, name) values ('org_a', 'A');
        insert into user_profile (clerk_user_id, clerk_org_id)
        values ('user_1', 'org_lost'), ('user_2', 'org_lost'), ('user_1', 'org_a');
        """
    )
    before = [row for row in await everything(earlier) if "cache" in str(row) or "user_organization" in str(row)]

    await migrate(empty_database)

    assert await rows(
        earlier, "organization where clerk_org_id = 'org_a'", "clerk_org_id, name, slug, image_url, is_placeholder"
    ) == [{"clerk_org_id": "org_a", "name": "A", "slug": None, "image_url": None, "is_placeholder": False}]
    assert [expected | {"is_placeholder": True}] == await rows(
        earlier, "organization where clerk_org_id = 'org_lost'", "name, slug, image_url, is_placeholder"
    )
    assert await earlier.fetchval("select count(*) from user_profile") == 3
    assert before == [
        row for row in await everything(earlier) if "cache" in str(row) or "user_organization" in str(row)
    ]


@pytest.mark.parametrize("table", [ORGANIZATION, USER_PROFILE])
async def test_one_table_may_be_there_without_the_other(empty_database: str, earlier: Any, table: str) -> None:
    """The other one is made."""
    await earlier.execute(table)

    await migrate(empty_database)

    assert await earlier.fetchval("select count(*) from user_profile join organization using (clerk_org_id)") == 0


async def test_triggers_of_the_application_sleep_while_rows_are_filled(
    empty_database: str, earlier: Any, rows: Any
) -> None:
    """They leave alone the rows that stay what they are, and do see organizations that are new."""
    await earlier.execute(
        BOTH
        + """
        create table audit (what text);
        create function note() returns trigger language plpgsql as
        $$ begin insert into audit values (tg_table_name || ' ' || tg_op); return new; end $$;
        create trigger normal after insert or update on organization for each row execute function note();
        create trigger always after update on organization for each row execute function note();
        create trigger never after update on organization for each row execute function note();
        create trigger on_replica after update on user_profile for each row execute function note();
        create trigger profile after update on user_profile for each row execute function note();
        alter table organization enable always trigger always, disable trigger never;
        alter table user_profile enable replica trigger on_replica;
        insert into organization (clerk_org_id) values ('org_a');
        insert into user_profile (clerk_user_id, clerk_org_id) values ('user_1', 'org_lost');
        delete from audit;
        """
    )
    states = "pg_trigger where not tgisinternal"
    before = await rows(earlier, states, "tgname, tgenabled")

    await migrate(empty_database)

    assert await rows(earlier, "audit") == [{"what": "organization INSERT"}]
    assert before == await rows(earlier, states, "tgname, tgenabled")


async def test_views_and_foreign_keys_of_the_application_stay(empty_database: str, earlier: Any) -> None:
    """What refers to the tables goes on doing so; a key that will stop deletions is told about."""
    await earlier.execute(
        BOTH
        + """
        insert into organization (clerk_org_id, name) values ('org_a', 'A');
        create table invoice (org text constraint invoice_org references organization (clerk_org_id));
        create table task (organization_id uuid references organization on delete cascade);
        create view names as select name, clerk_org_id from organization;
        insert into invoice values ('org_a');
        """
    )

    with capture_logs() as logs:
        await migrate(empty_database)

    assert await earlier.fetchval("select name from names join invoice on org = clerk_org_id") == "A"
    query = "select count(*) from pg_constraint where conname in ('invoice_org', 'task_organization_id_fkey')"
    assert await earlier.fetchval(query) == 2
    assert ["foreign key invoice_org of public.invoice" in entry["message"] for entry in logs] == [True]


async def test_a_deleted_organization_takes_its_profiles_along(empty_database: str, earlier: Any) -> None:
    """Whatever the earlier foreign key did."""
    await earlier.execute(
        BOTH
        + """
        alter table user_profile
        add foreign key (clerk_org_id) references organization (clerk_org_id) on delete set null;
        insert into organization (clerk_org_id, name) values ('org_a', 'A');
        insert into user_profile (clerk_user_id, clerk_org_id) values ('user_1', 'org_a');
        """
    )
    await migrate(empty_database)

    await earlier.execute("delete from organization")

    assert await earlier.fetchval("select count(*) from user_profile") == 0


async def test_a_slug_may_be_used_again(empty_database: str, earlier: Any) -> None:
    """Unique slugs of the earlier set-up are let go, and slugs can still be looked up."""
    await earlier.execute(ORGANIZATION + "alter table organization add slug text unique;")
    await migrate(empty_database)

    await earlier.execute(
        "insert into organization (clerk_org_id, name, slug) values ('org_a', 'A', 's'), ('org_b', 'B', 's')"
    )

    assert await earlier.fetchval("select to_regclass('organization_slug_idx') is not null")


async def test_tables_of_clerksync_without_its_schema_are_kept_as_they_are(
    empty_database: str, earlier: Any, rows: Any
) -> None:
    """A restored backup may hold the public tables only: memberships that are known stay known."""
    await migrate(empty_database)
    await earlier.execute(
        """
        insert into organization (clerk_org_id, name) values ('org_a', 'A');
        insert into user_profile (clerk_user_id, clerk_org_id, clerk_membership_id, membership_created_at)
        values ('user_1', 'org_a', 'orgmem_1', now());
        drop schema clerksync cascade;
        """
    )
    before = await rows(earlier, "organization"), await rows(earlier, "user_profile")

    assert await migrate(empty_database) != []

    assert before == (await rows(earlier, "organization"), await rows(earlier, "user_profile"))


async def test_tables_without_ids_get_them(empty_database: str, earlier: Any) -> None:
    """Each row one of its own, beside the primary key that there is."""
    await earlier.execute(
        """
        create table organization (clerk_org_id text primary key);
        create table user_profile (clerk_user_id text, clerk_org_id text, primary key (clerk_user_id, clerk_org_id));
        insert into organization values ('org_a'), ('org_b');
        insert into user_profile values ('user_1', 'org_a'), ('user_2', 'org_a');
        """
    )

    await migrate(empty_database)

    assert await earlier.fetchval("select count(distinct id) from organization where id is not null") == 2
    assert await earlier.fetchval("select count(distinct id) from user_profile where id is not null") == 2
