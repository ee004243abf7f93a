"""Waits for what is to happen soon."""

import asyncio
from collections.abc import Callable

from clerksync import SyncClient


async def until(happened: Callable[[], bool], *, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not happened():
            await asyncio.sleep(0.005)


async def in_step(client: SyncClient) -> None:
    """Waits until the stream of removals has spoken."""
    assert await client.ready()
    await until(lambda: client.silent_for_s < 2.5)
