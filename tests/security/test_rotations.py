"""Secrets are replaced without a delivery lost or a call failed: the way that SECURITY.md tells."""

import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import bodies
import pytest
from database.logins import Login, Logins, make_logins
from stack import WEBHOOK_SECRET, now_ms

from clerksync_server.app import Application
from clerksync_server.database.migrate import MigrationError, migrate

NEW_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def as_role(dsn: str, role: str, password: str) -> str:
    url = urlsplit(dsn)
    return url._replace(netloc=f"{role}:{password}@{url.hostname}:{url.port}").geturl()


@pytest.fixture
async def make_role(database_url: str) -> AsyncIterator[Callable[..., Any]]:
    """Makes logins for SyncService, and removes them in the end."""
    owner = await asyncpg.connect(database_url)
    made: list[str] = []

    async def make(password: str) -> str:
        role = f"sync_{secrets.token_hex(4)}"
        await owner.execute(f"create role {role} login password '{password}' in role clerksync_service")
        made.append(role)
        return role

    yield make
    for role in made:
        await owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)
        await owner.execute(f"drop role {role}")
    await owner.close()


@pytest.fixture
async def logins(empty_database: str) -> Logins:
    """A database with the logins that roles.sql makes, migrated by its owner."""
    made = await make_logins(empty_database)
    await migrate(made.owner.dsn)
    return made


async def change_password(admin_dsn: str, login: Login) -> str:
    """As an administrator does with psql. Returns the URL with the new one."""
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(f"alter role {login.name} password 'new'")
    await admin.close()
    return as_role(login.dsn, login.name, "new")


async def profiles_of(reader: Any, org_id: str) -> list[str]:
    async with reader.transaction():
        await reader.execute("select set_config('request.jwt.claims', $1, true)", f'{{"org_id": "{org_id}"}}')
        rows = await reader.fetch("select clerk_user_id from public.user_profile")
    return [row["clerk_user_id"] for row in rows]


async def test_the_webhook_secret(start_stack: Callable[..., Any]) -> None:
    """With both secrets deliveries signed by either are taken; afterwards only those signed by the new one."""
    both = await start_stack(CLERK_WEBHOOK_SECRET=f"{NEW_SECRET}, {WEBHOOK_SECRET}")
    new = await start_stack(CLERK_WEBHOOK_SECRET=NEW_SECRET)
    body = bodies.organization("created", "org_1", at=now_ms())

    assert 200 == (await both.post(body, secret=WEBHOOK_SECRET)).status
    assert 200 == (await both.post(body, secret=NEW_SECRET)).status
    assert 200 == (await new.post(body, secret=NEW_SECRET)).status
    assert 400 == (await new.post(body, secret=WEBHOOK_SECRET)).status


async def test_a_database_password(
    start_stack: Callable[..., Any], database_url: str, make_role: Callable[..., Any], connection: Any
) -> None:
    """A running replica goes on while the password changes; the next one starts with the new, none with the old."""
    role = await make_role("old")
    running = await start_stack(DATABASE_URL=as_role(database_url, role, "old"))
    await running.ensure_profile("user_1", "org_1")

    await connection.execute(f"alter role {role} password 'new'")
    await running.ensure_profile("user_1", "org_1")
    renewed = await start_stack(DATABASE_URL=as_role(database_url, role, "new"))
    await renewed.ensure_profile("user_1", "org_1")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(as_role(database_url, role, "old"))


async def test_two_roles_that_take_turns(
    start_stack: Callable[..., Any], database_url: str, make_role: Callable[..., Any], connection: Any
) -> None:
    """Replicas of two roles serve side by side, so the first role can be closed once its replicas are gone."""
    first, second = await make_role("one"), await make_role("two")
    old = await start_stack(DATABASE_URL=as_role(database_url, first, "one"))
    new = await start_stack(DATABASE_URL=as_role(database_url, second, "two"))
    await old.ensure_profile("user_1", "org_1")
    await new.ensure_profile("user_2", "org_1")

    assert isinstance(old.application, Application)
    await old.application.stop()
    await connection.execute(f"alter role {first} nologin")

    assert 200 == (await new.post(bodies.organization("created", "org_2", at=now_ms()))).status
    await new.ensure_profile("user_1", "org_1")


async def test_the_password_of_a_reader(start_stack: Callable[..., Any], logins: Logins, empty_database: str) -> None:
    """Who reads goes on while it changes; whoever connects afterwards needs the new one; SyncService is not touched."""
    stack = await start_stack(DATABASE_URL=logins.service.dsn)
    await stack.ensure_profile("user_1", "org_1")
    running = await asyncpg.connect(logins.reader.dsn)

    renewed = await asyncpg.connect(await change_password(empty_database, logins.reader))
    await stack.ensure_profile("user_2", "org_1")

    for reader in (running, renewed):
        assert ["user_1", "user_2"] == sorted(await profiles_of(reader, "org_1"))
        await reader.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(logins.reader.dsn)


async def test_the_password_of_the_owner(start_stack: Callable[..., Any], logins: Logins, empty_database: str) -> None:
    """`clerksync migrate` needs the new one from then on, and nothing else knew the old: SyncService goes on."""
    stack = await start_stack(DATABASE_URL=logins.service.dsn)

    renewed = await change_password(empty_database, logins.owner)

    with pytest.raises(MigrationError, match="password authentication failed"):
        await migrate(logins.owner.dsn)
    assert [] == await migrate(renewed)
    assert 200 == (await stack.post(bodies.organization("created", "org_1", at=now_ms()))).status
