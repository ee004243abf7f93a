"""The statement for operators who trust the pairs of an earlier `user_organization` table."""

from typing import Any

import asyncpg
import pytest

from clerksync_server.database.migrate import migrate, migrations_dir

SCRIPT = migrations_dir() / "sql" / "manual" / "import_user_organization.sql"


async def import_pairs(connection: Any) -> None:
    await connection.execute(SCRIPT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "columns", [("clerk_user_id", "clerk_org_id"), ("user_id", "organization_id"), ("user_id", "org_id")]
)
async def test_missing_pairs_become_provisional_profiles(
    empty_database: str, earlier: Any, rows: Any, columns: tuple[str, str]
) -> None:
    """Profiles that exist stay, organizations that are missing get placeholders, and the table is left alone."""
    user, organization = columns
    await earlier.execute(
        f"""
        create table user_organization ({user} varchar(50), {organization} text, role text);
        insert into user_organization values
            ('user_1', 'org_a'), ('user_2', 'org_a'), ('user_2', 'org_b'), ('user_2', 'org_b'),
            (null, 'org_c'), ('', 'org_c');
        """
    )
    await migrate(empty_database)
    await earlier.execute(
        """
        insert into organization (clerk_org_id, name) values ('org_a', 'A');
        insert into user_profile (clerk_user_id, clerk_org_id, role) values ('user_1', 'org_a', 'org:admin');
        """
    )

    await import_pairs(earlier)
    await import_pairs(earlier)

    assert await rows(
        earlier, "user_profile", "clerk_user_id, clerk_org_id, role, extract(epoch from evidence_at) as evidence_at"
    ) == [
        {"clerk_user_id": "user_1", "clerk_org_id": "org_a", "role": "org:admin", "evidence_at": None},
        {"clerk_user_id": "user_2", "clerk_org_id": "org_a", "role": None, "evidence_at": 0},
        {"clerk_user_id": "user_2", "clerk_org_id": "org_b", "role": None, "evidence_at": 0},
    ]
    assert await rows(earlier, "organization", "name, is_placeholder") == [
        {"name": "A", "is_placeholder": False},
        {"name": "org_b", "is_placeholder": True},
    ]
    assert await earlier.fetchval("select count(*) from user_organization") == 6


async def test_nobody_who_was_removed_comes_back(empty_database: str, earlier: Any, rows: Any) -> None:
    """Pairs with a tombstone, deleted users and organizations, and rows marked as gone are left out."""
    await migrate(empty_database)
    await earlier.execute(
        """
        create table public.user_organization (user_id text, org_id text, deleted_at timestamptz, is_removed boolean);
        insert into user_organization values
            ('user_removed', 'org_a', null, null), ('user_deleted', 'org_a', null, null),
            ('user_1', 'org_deleted', null, null), ('user_2', 'org_a', now(), null),
            ('user_3', 'org_a', null, true), ('user_4', 'org_a', null, false);
        insert into clerksync.membership_tombstone (
            clerk_user_id, clerk_org_id, through_created_at, through_membership_id, removed_at
        )
        values ('user_removed', 'org_a', 'epoch', '', 'epoch');
        insert into clerksync.deleted_entity (kind, clerk_id, deleted_at)
        values ('user', 'user_deleted', now()), ('organization', 'org_deleted', now());
        """
    )

    await import_pairs(earlier)

    assert await rows(earlier, "user_profile", "clerk_user_id") == [{"clerk_user_id": "user_4"}]
    assert await rows(earlier, "organization", "clerk_org_id") == [{"clerk_org_id": "org_a"}]


@pytest.mark.parametrize("table", ["select", "create table public.user_organization (user_id uuid, org_id text);"])
async def test_it_says_what_it_misses(empty_database: str, earlier: Any, table: str) -> None:
    """Without the table, or without text columns for the ids, nothing is guessed."""
    await migrate(empty_database)
    await earlier.execute(table)

    with pytest.raises(asyncpg.RaiseError, match=r"public\.user_organization"):
        await import_pairs(earlier)
