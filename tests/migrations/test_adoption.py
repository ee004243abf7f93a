"""Databases of earlier set-ups become what a fresh one is, and keep what they hold."""

from typing import Any

import pytest

from clerksync_server.database.migrate import migrate

SUPABASE = """
create table organization (
    id uuid primary key default gen_random_uuid(),
    clerk_org_id text not null unique,
    name text not null,
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
    name varchar(100) not null default '',
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
    clerk_org_id text primary key,
    name text,
    slug text,
    image_url text,
    settings jsonb not null default '{"plan": "free"}',
    stripe_customer_id text
);
alter table organization add constraint org_again unique (clerk_org_id);
create table user_profile (
    id uuid not null,
    clerk_user_id text not null,
    clerk_org_id text not null references organization on delete cascade deferrable initially deferred,
    role text check (true),
    onboarded boolean default true,
    primary key (clerk_user_id, clerk_org_id)
);
alter table user_profile drop constraint user_profile_role_check;
"""
OLD_KEYS = """
create table organization (
    id uuid,
    clerk_org_id text not null constraint org_key unique deferrable,
    name text not null,
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
    created_at timestamptz not null,
    onboarded boolean
);
insert into organization_cache values ('org_a', 'A'), ('org_b', 'B'), ('org_gone', 'Gone');
create unique index pair on user_profile (clerk_user_id, clerk_org_id);
create unique index pair_again on user_profile (clerk_org_id, clerk_user_id);
create index on user_profile (clerk_user_id);
create index on user_profile (clerk_org_id) where onboarded;
create view active as select id, clerk_user_id, role from user_profile where onboarded;
"""
SET_UPS = {
    "supabase": SUPABASE, "prisma": PRISMA, "minimal": MINIMAL, "natural keys": NATURAL_KEYS, "old keys": OLD_KEYS
}
ROWS = """
insert into organization (clerk_org_id, slug, image_url, settings, stripe_customer_id {name})
values ('org_a', 'alpha', 'https://img/a', '{{"plan": "pro"}}', 'cus_a' {value}),
    ('org_b', 'beta', 'https://img/b', '{{"seats": 3}}', 'cus_b' {value});
insert into user_profile (clerk_user_id, clerk_org_id, role, onboarded)
values ('user_1', 'org_a', 'ADMIN', true), ('user_1', 'org_b', 'MEMBER', false), ('user_2', 'org_a', 'MEMBER', true);
"""
KEPT = {
    "organization": "clerk_org_id, slug, image_url, settings, stripe_customer_id",
    "user_profile": "clerk_user_id, clerk_org_id, role, onboarded",
}


async def make(connection: Any, set_up: str) -> None:
    """Makes the tables of a set-up, with rows in them."""
    await connection.execute(SET_UPS[set_up])
    has_name, has_ids = set_up != "minimal", set_up in ("natural keys", "old keys")
    script = ROWS.format(name=", name" if has_name else "", value=", 'Name'" if has_name else "")
    if has_ids:
        await connection.execute("alter table user_profile alter column id set default gen_random_uuid()")
    if set_up == "old keys":
        await connection.execute("alter table organization alter column id set default gen_random_uuid()")
        script = script.replace("insert into user_profile (", "insert into user_profile (created_at, ")
        script = script.replace("('user_", "('2024-05-06T07:08:09Z', 'user_")
    await connection.execute(script)
    if has_ids:
        await connection.execute("alter table user_profile alter column id drop default")


@pytest.mark.parametrize("set_up", SET_UPS)
async def test_an_adopted_database_meets_the_contract_of_a_fresh_one(
    empty_database: str, earlier: Any, contract: Any, database_url: str, connection: Any, set_up: str
) -> None:
    """Columns, constraints, indexes and policies that others rely on are the same as in a fresh database."""
    await make(earlier, set_up)
    extra = ("organization.stripe_customer_id", "user_profile.onboarded")

    await migrate(empty_database)

    adopted, fresh = await contract(earlier, without=extra), await contract(connection)
    relaxed = [(name, kind.replace("character varying", "text"), *rest) for name, kind, *rest in adopted["columns"]]
    assert [tuple(column[:2]) for column in fresh["columns"]] == [column[:2] for column in relaxed]
    differing = {column[0] for column in relaxed} - {column[0] for column in fresh["columns"] if column in relaxed}
    assert differing <= {"user_profile.role", "organization.name"}  # Their earlier defaults may stay.
    assert {key: value for key, value in fresh.items() if key != "columns"} | {
        "constraints": [(name, table) for name, table, _ in fresh["constraints"]]
    } == {key: value for key, value in adopted.items() if key != "columns"} | {
        "constraints": [(name, table) for name, table, _ in adopted["constraints"]]
    }
