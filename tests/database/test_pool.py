"""How many calls may wait for a connection of the pool."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from clerksync_server.database.connection import Database
from clerksync_server.errors import Overloaded


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """With a pool of two."""
    opened = Database(database_url, pool_size=2)
    await opened.open()
    yield opened
    await opened.close()


async def one(database: Database, *, however_many_wait: bool = False) -> int:
    async with database.connection(however_many_wait=however_many_wait) as connection:
        return int(await connection.fetchval("select 1"))


async def test_whoever_finds_too_many_is_told_so_at_once(database: Database) -> None:
    """64 calls may wait for each connection; the next one is Overloaded, the others have their turn."""
    async with contextlib.AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(database.connection())
        waiting = [asyncio.create_task(one(database)) for _ in range(128)]
        await asyncio.sleep(0)
        for _ in range(3):
            with pytest.raises(Overloaded):
                await one(database)
        # Whether Postgres answers is to be seen however many wait.
        watching = asyncio.create_task(one(database, however_many_wait=True))
        waiting[0].cancel()
        await asyncio.sleep(0.1)
        assert not watching.done()

    assert await asyncio.gather(watching, *waiting[1:]) == [1] * 128
    assert await one(database) == 1
