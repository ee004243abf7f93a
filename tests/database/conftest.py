"""A database with the logins that roles.sql makes, and SyncService as one of them."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from cryptography.fernet import Fernet
from database.logins import Logins, make_logins
from stack import Stack

from clerksync_server.database.migrate import migrate


@pytest.fixture
async def logins(empty_database: str) -> Logins:
    """A database that its owner has migrated, who is no superuser and may make no roles."""
    made = await make_logins(empty_database)
    await migrate(made.owner.dsn)
    return made


@pytest.fixture
async def admin(empty_database: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(empty_database, statement_cache_size=0)
    yield opened
    await opened.close()


@pytest.fixture
async def restricted_stack(logins: Logins, start_stack: Any) -> Stack:
    """SyncService and the front, connected as the service's login."""
    key = Fernet.generate_key().decode()
    started: Stack = await start_stack(DATABASE_URL=logins.service.dsn, CLERKSYNC_QUARANTINE_KEY=key)
    return started
