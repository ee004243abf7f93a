"""Databases of earlier set-ups, and what can be said about a database's tables."""

import json
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import pytest

from clerksync_server.database import migrate as runner

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

COLUMNS = """
select c.relname || '.' || a.attname as column, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
    pg_get_expr(d.adbin, d.adrelid) as default
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid and c.relkind = 'r'
left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.oid in ('public.organization'::regclass, 'public.user_profile'::regclass) and a.attnum > 0
    and not a.attisdropped and a.attname <> 'id'
order by 1
"""
CONSTRAINTS = """
select c.conname, c.conrelid::regclass::text as table, c.contype = 'f' as is_foreign, c.confrelid::regclass::text,
    array(select attname::text from pg_attribute where attrelid = c.conrelid and attnum = any (c.conkey) order by 1),
    c.confdeltype::text, c.condeferrable, c.convalidated
from pg_constraint as c
where c.conname in (
    'organization_clerk_org_id_key', 'user_profile_clerk_user_id_clerk_org_id_key', 'user_profile_clerk_org_id_fkey'
)
order by 1
"""
INDEXES = """
select indexname, indexdef from pg_indexes
where indexname in ('user_profile_clerk_user_id_idx', 'user_profile_clerk_org_id_idx')
order by 1
"""
SECURITY = """
select polrelid::regclass::text as table, polname, polcmd::text, polpermissive,
    pg_get_expr(polqual, polrelid) as using, pg_get_expr(polwithcheck, polrelid) as check
from pg_policy where polname like 'clerksync%'
union all
select oid::regclass::text, 'enabled', '', relrowsecurity, '', ''
from pg_class where oid in ('public.organization'::regclass, 'public.user_profile'::regclass)
order by 1, 2
"""
TABLES = """
select oid::regclass::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1
"""
EVERYTHING = """
select 'column' as kind, attrelid::regclass::text as of, attname || ' ' || format_type(atttypid, atttypmod) as what,
    attnotnull::text as detail
from pg_attribute join pg_class on pg_class.oid = attrelid
where relnamespace in (select oid from pg_namespace where nspname not like 'pg\\_%' and nspname <> 'information_schema')
    and attnum > 0 and relkind in ('r', 'v', 'm')
union all
select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint where conrelid > 0
union all
select 'index', tablename, indexname, indexdef from pg_indexes where schemaname = 'public'
union all
select 'relation', oid::regclass::text, coalesce(relacl::text, ''), concat(relrowsecurity, relforcerowsecurity)
from pg_class where relnamespace = 'public'::regnamespace
union all
select 'trigger', tgrelid::regclass::text, tgname, tgenabled::text from pg_trigger where not tgisinternal
union all
select 'policy', polrelid::regclass::text, polname, pg_get_expr(polqual, polrelid) from pg_policy
union all
select 'schema', nspname, '', '' from pg_namespace where nspname not like 'pg\\_%'
order by 1, 2, 3, 4
"""


@pytest.fixture
async def earlier(empty_database: str) -> AsyncIterator[Connection]:
    """A connection to an empty database, in which a test makes the tables of an earlier set-up."""
    connection = await asyncpg.connect(empty_database, statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def everything() -> Callable[[Connection], Any]:
    """All that the catalogs say about a database, and the rows of its tables."""

    async def look(connection: Connection) -> Any:
        found = [tuple(row) for row in await connection.fetch(EVERYTHING)]
        for (table,) in await connection.fetch(TABLES):
            found += [
                tuple(row) for row in await connection.fetch(f"select t::text, ctid::text from {table} as t order by 1")
            ]
        return found

    return look


@pytest.fixture(scope="session")
def contract() -> Callable[[Connection], Any]:
    """What others rely on: columns, constraints, indexes and policies of the two tables, apart from their ids."""

    async def look(connection: Connection, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
        found = {
            name: [tuple(row) for row in await connection.fetch(query)]
            for name, query in (
                ("columns", COLUMNS),
                ("constraints", CONSTRAINTS),
                ("indexes", INDEXES),
                ("security", SECURITY),
            )
        }
        found["columns"] = [row for row in found["columns"] if row[0] not in without]
        return found

    return look


@pytest.fixture
async def rows() -> Callable[..., Any]:
    """The rows of a table as dictionaries, in the order of their ids."""

    async def read(connection: Connection, table: str, columns: str = "*") -> list[dict[str, Any]]:
        found = await connection.fetch(
            f"select to_jsonb(t) as row from (select {columns} from {table}) as t order by t::text"
        )
        return [json.loads(row["row"]) for row in found]

    return read


@dataclass(frozen=True)
class Roles:
    """Names of one test's own for the roles of a cluster."""

    service: str
    reader: str
    authenticated: str
    anon: str


@pytest.fixture
def own_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roles:
    """The migrations with other names for the roles, which all databases of a cluster, and so all tests, share."""
    suffix = secrets.token_hex(4)
    roles = Roles(f"service_{suffix}", f"reader_{suffix}", f"authenticated_{suffix}", f"anon_{suffix}")
    copy = tmp_path / "migrations"
    shutil.copytree(runner.migrations_dir(), copy)
    for script in (copy / "sql").glob("*.sql"):
        text = script.read_text()
        text = text.replace("clerksync_service", roles.service).replace("clerksync_reader", roles.reader)
        text = text.replace("'authenticated'", f"'{roles.authenticated}'").replace("'anon'", f"'{roles.anon}'")
        script.write_text(text)
    monkeypatch.setattr(runner, "migrations_dir", lambda: copy)
    return roles


@pytest.fixture
def dsn_as() -> Callable[[str, str, str], str]:
    """The same database, reached as another role."""

    def replace(dsn: str, user: str, password: str) -> str:
        url = urlsplit(dsn)
        return url._replace(netloc=f"{user}:{password}@{url.hostname}:{url.port}").geturl()

    return replace
