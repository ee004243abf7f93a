"""Databases of earlier set-ups become what a fresh one is, and keep what they hold."""

from pathlib import Path
from typing import Any

import pytest

from clerksync_server import database
from clerksync_server.database.migrate import migrate
from clerksync_server.database.sql import load_queries

SUPABASE = """
create table organization (
    id uuid primary key default gen_random_uuid(),
    clerk_org_id text not null unique,
    name text not null default 'A name',
    slug text unique,
    image_url text,
    settings jsonb default '{}',
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    stripe_customer_id text
);
create table user_profile (
    id uuid primary key default gen_random_uuid(),
    clerk_user_id text not null,
    clerk_org_id text not null references organization (clerk_org_id),
    role text not null default 'member',
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    onboarded boolean not null default false,
    unique (clerk_user_id, clerk_org_id)
);
create index idx_user_profile_org on user_profile (clerk_org_id);
alter table organization enable row level security;
create policy everybody_reads on organization for select using (true);
create policy members_read on user_profile for select using (clerk_user_id = current_setting('app.user', true));
"""
PRISMA = """
create type role_kind as enum ('ADMIN', 'MEMBER');
create table organization (
    id text not null default md5(random()::text),
    clerk_org_id varchar(255) not null,
    name varchar(100) not null default 'A name',
    slug varchar(100) not null,
    image_url varchar(255) not null,
    settings json,
    created_at timestamp(3) not null default current_timestamp,
    updated_at timestamp(3) not null default current_timestamp,
    stripe_customer_id varchar(40),
    constraint organization_pkey primary key (id)
);
create unique index organization_clerk_org_id_key on organization (clerk_org_id);
create unique index organization_slug_key on organization (lower(slug)) where slug is not null;
create table user_profile (
    id text not null default md5(random()::text),
    clerk_user_id varchar(255) not null,
    clerk_org_id varchar(255) not null,
    role role_kind not null default 'MEMBER',
    created_at timestamp(3) not null default current_timestamp,
    updated_at date not null default current_date,
    onboarded boolean not null default false,
    constraint user_profile_pkey primary key (id),
    constraint "Membership_org_fkey" foreign key (clerk_org_id) references organization (clerk_org_id)
        on update cascade on delete cascade
);
create unique index "user_profile_org_user" on user_profile (clerk_org_id, clerk_user_id);
create index "user_profile_clerk_user_id_idx" on user_profile (clerk_user_id);
"""
MINIMAL = """
create table organization (
    id bigserial primary key,
    clerk_org_id text,
    name text default 'A name',
    slug text,
    image_url text,
    settings jsonb,
    stripe_customer_id text
);
create table user_profile (
    id bigint generated always as identity primary key,
    clerk_user_id text,
    clerk_org_id text,
    role text,
    onboarded boolean
);
"""
NATURAL_KEYS = """
create table organization (
    id uuid not null default gen_random_uuid(),
    clerk_org_id text primary key,
    name text default 'A name',
    slug text,
    image_url text,
    settings jsonb not null default '{}',
    stripe_customer_id text
);
alter table organization add constraint org_again unique (clerk_org_id);
create table user_profile (
    id uuid not null default gen_random_uuid(),
    clerk_user_id text not null,
    clerk_org_id text not null references organization on delete cascade deferrable initially deferred,
    role text,
    onboarded boolean default true,
    primary key (clerk_user_id, clerk_org_id)
);
"""
OLD_KEYS = """
create table organization (
    id uuid default gen_random_uuid(),
    clerk_org_id text not null constraint org_key unique deferrable,
    name text not null default 'A name',
    slug text not null,
    image_url text not null,
    settings jsonb not null default '{}',
    created_at timestamptz,
    updated_at timestamptz,
    stripe_customer_id text
);
create table organization_cache (org_id text primary key, name text);
create table user_profile (
    id uuid default gen_random_uuid(),
    clerk_user_id varchar not null,
    clerk_org_id varchar not null references organization_cache (org_id) on delete set null,
    role varchar not null,
    created_at timestamptz not null default now(),
    onboarded boolean
);
insert into organization_cache values ('org_a', 'A'), ('org_b', 'B'), ('org_gone', 'Gone');
create unique index pair on user_profile (clerk_user_id, clerk_org_id);
create unique index pair_again on user_profile (clerk_org_id, clerk_user_id);
create index on user_profile (clerk_user_id);
create index some_profiles on user_profile (clerk_org_id) where onboarded;
create view active as select id, onboarded from user_profile;
"""
SET_UPS = {
    "supabase": SUPABASE,
    "prisma": PRISMA,
    "minimal": MINIMAL,
    "natural keys": NATURAL_KEYS,
    "old keys": OLD_KEYS,
}
ROWS = """
insert into organization (clerk_org_id, slug, image_url, settings, stripe_customer_id)
values ('org_a', 'alpha', 'https://img/a', '{"plan": "pro"}', 'cus_a'),
    ('org_b', 'beta', 'https://img/b', '{"seats": 3}', 'cus_b');
insert into user_profile (clerk_user_id, clerk_org_id, role, onboarded)
values ('user_1', 'org_a', 'ADMIN', true), ('user_1', 'org_b', 'MEMBER', false), ('user_2', 'org_a', 'MEMBER', true);
"""
KEPT = {
    "organization": "id, clerk_org_id, name, slug, image_url, settings, stripe_customer_id",
    "user_profile": "id, clerk_user_id, clerk_org_id, role, onboarded",
}
QUERIES = Path(database.__path__[0]) / "queries"
EXTRA = ("organization.stripe_customer_id", "user_profile.onboarded")


@pytest.mark.parametrize("set_up", SET_UPS)
async def test_an_adopted_database_meets_the_contract_of_a_fresh_one(
    empty_database: str, earlier: Any, contract: Any, connection: Any, set_up: str
) -> None:
    """Columns, constraints, indexes and policies that others rely on are the same as in a fresh database."""
    await earlier.execute(SET_UPS[set_up] + ROWS)

    await migrate(empty_database)

    assert await contract(connection) == await contract(earlier, without=EXTRA)


@pytest.mark.parametrize("set_up", SET_UPS)
async def test_adoption_keeps_every_row(empty_database: str, earlier: Any, rows: Any, set_up: str) -> None:
    """Ids, names, slugs, images, settings, roles and columns of the application's keep their values."""
    await earlier.execute(SET_UPS[set_up] + ROWS)
    before = {table: await rows(earlier, table, columns) for table, columns in KEPT.items()}

    await migrate(empty_database)

    assert before == {table: await rows(earlier, table, columns) for table, columns in KEPT.items()}


@pytest.mark.parametrize("set_up", SET_UPS)
async def test_every_query_of_the_service_runs_on_an_adopted_database(
    empty_database: str, earlier: Any, set_up: str
) -> None:
    """Postgres finds types for all parameters, and all that is named."""
    await earlier.execute(SET_UPS[set_up] + ROWS)
    await migrate(empty_database)

    for file in QUERIES.glob("*.sql"):
        for query in load_queries(file.name).values():
            await earlier.prepare(query)
