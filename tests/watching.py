"""Watches removals as a sibling service does, and makes some."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Self, TypeAlias

import asyncpg
import bodies
import grpc
import pytest
from running import until
from stack import Stack, now_ms

from clerksync.v1 import sync_service_pb2

Told = tuple[str, str]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
FEED = "application_name = 'clerksync removals' and datname = current_database()"


class Watch:
    """A stream, and what it has told so far."""

    def __init__(self, stack: Stack, position: str = "", **metadata: str) -> None:
        request = sync_service_pb2.WatchRemovalsRequest(position=position)
        self.call = stack.sync.WatchRemovals(request, metadata=tuple(metadata.items()))
        self.responses: list[sync_service_pb2.WatchRemovalsResponse] = []
        self.times: list[float] = []

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        async for response in self.call:
            self.times.append(asyncio.get_running_loop().time())
            self.responses.append(response)

    async def begun(self) -> Self:
        """Waits for the first response."""
        await until(lambda: self.responses, 10, every_s=0.005)
        return self

    async def told(self, *expected: Told, within_s: float = 5, again: Collection[Told] = ()) -> None:
        """Waits until these have been told, and nothing else was, but for what may be told `again`."""
        await until(lambda: set(expected) <= set(self.removed), within_s, every_s=0.005)
        assert set(expected) == set(self.removed) - set(again)

    @property
    def removed(self) -> list[Told]:
        return [(gone.clerk_user_id, gone.clerk_org_id) for each in self.responses for gone in each.removals]

    @property
    def resets(self) -> list[bool]:
        return [response.reset for response in self.responses]

    @property
    def position(self) -> str:
        return self.responses[-1].position

    async def failure(self) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self._reading
        return failed.value


async def join(stack: Stack, *users: str, org: str = "org_1") -> None:
    for user in users:
        await stack.post(bodies.membership("created", user, org, at=now_ms(), joined_at=1000))


async def leave(stack: Stack, *users: str, org: str = "org_1") -> None:
    for user in users:
        await stack.post(bodies.membership("deleted", user, org, at=now_ms(), joined_at=1000))


async def log(connection: Connection, user: str) -> None:
    await connection.execute("insert into clerksync.removal (clerk_user_id, clerk_org_id) values ($1, 'org_1')", user)


@asynccontextmanager
async def another(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def stack_ready(stack: Stack) -> None:
    async with Watch(stack) as watch:
        await watch.begun()
