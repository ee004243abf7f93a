"""The logins that migrations/sql/manual/roles.sql makes, as an administrator makes them: with psql."""

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from clerksync_server.database.migrate import migrations_dir
from clerksync_server.dev.postgres_binaries import find_binaries

ALL_RIGHTS = {"SELECT", "INSERT", "UPDATE", "DELETE"}
RIGHTS_OF_THE_SERVICE = {
    "public.organization": ALL_RIGHTS,
    "public.user_profile": ALL_RIGHTS,
    "clerksync.membership_tombstone": ALL_RIGHTS,
    "clerksync.deleted_entity": {"SELECT", "INSERT", "UPDATE (deleted_at)"},
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
    "update clerksync.deleted_entity set clerk_id = 'user_other'",
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

SCRIPTS = migrations_dir() / "sql" / "manual"


@dataclass(frozen=True)
class Login:
    """A role of one database's own, and how to connect as it."""

    name: str
    dsn: str


@dataclass(frozen=True)
class Logins:
    """The three of a database."""

    owner: Login
    service: Login
    reader: Login


def run_script(admin_dsn: str, *, script: str = "roles.sql", **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end. Skips where there is no psql."""
    beside = find_binaries()[0] / "psql"
    psql = str(beside) if os.access(beside, os.X_OK) else shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed, so nothing runs the script")
    given = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    command = [psql, "--no-psqlrc", admin_dsn, *given, "-f", str(SCRIPTS / script)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, cwd=Path("/"))


async def make_logins(admin_dsn: str) -> Logins:
    """Three logins of new names, with passwords."""
    suffix = secrets.token_hex(4)
    names = {part: f"{part}_{suffix}" for part in ("owner", "service", "reader")}
    done = run_script(admin_dsn, **names)
    assert 0 == done.returncode, done.stderr
    admin = await asyncpg.connect(admin_dsn)
    try:
        # As docs/security/database.md asks for on Postgres 14 and older.
        await admin.execute("revoke create on schema public from public")
        for name in names.values():
            await admin.execute(f"alter role {name} password 'secret'")
    finally:
        await admin.close()
    url = urlsplit(admin_dsn)
    return Logins(
        **{
            part: Login(name, url._replace(netloc=f"{name}:secret@{url.hostname}:{url.port}").geturl())
            for part, name in names.items()
        }
    )


async def rights_of(admin: Any, login: Login) -> dict[str, set[str]]:
    """What a login may do to each table of ours, and to others in the two schemas; to columns where not to all."""
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
        union all
        select n.nspname || '.' || t.relname, privilege || ' (' || a.attname || ')'
        from pg_class as t
        join pg_namespace as n on n.oid = t.relnamespace
        join pg_attribute as a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
        cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) as privilege
        where t.relkind in ('r', 'v') and n.nspname in ('public', 'clerksync')
            and has_column_privilege($1, t.oid, a.attnum, privilege)
            and not has_table_privilege($1, t.oid, privilege)
        """,
        login.name,
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["table"], set()).add(row["privilege"])
    return found


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


async def names_of(admin: Any, logins: Logins, login: Login) -> dict[str, str]:
    return {
        "self": login.name,
        "owner": logins.owner.name,
        "admin": await admin.fetchval("select current_user"),
        "database": await admin.fetchval("select current_database()"),
    }
