"""Secrets are replaced without a delivery lost or a call failed: the way that SECURITY.md tells."""

import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import bodies
import pytest
from stack import WEBHOOK_SECRET, now_ms

from clerksync_server.app import Application

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
