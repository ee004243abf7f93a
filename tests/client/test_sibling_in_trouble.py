"""A sibling service under traffic, while the process of its SyncService is frozen, killed and restarted."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from crash.site import free_ports
from running import Running

from clerksync import SyncClient
from clerksync.middleware.aiohttp import CLAIMS, USER_PROFILE, ensure_profile_middleware
from client.waiting import in_step

BUDGET_S = 0.05
ALLOWANCE_S = 0.45
"""For a machine that is busy with other tests: a request that waits for SyncService itself would take 2 s."""


class Replica:
    """SyncService in a process, on the same port whenever it is started again."""

    def __init__(self, database_url: str, port: int) -> None:
        self.target = f"127.0.0.1:{port}"
        self._environment = {"DATABASE_URL": database_url, "CLERKSYNC_GRPC_LISTEN": self.target}
        self._running: Running | None = None

    async def start(self) -> None:
        self._running = Running("service", environment=self._environment)
        await self._running.__aenter__()
        await self._running.logged("the database is ready")

    def send(self, number: signal.Signals) -> None:
        assert self._running is not None
        os.kill(self._running.process.pid, number)

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.__aexit__(None, None, None)
            self._running = None


@dataclass
class Traffic:
    """What the requests of a sibling came to."""

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    with_profile: int = 0
    last_with_profile: bool = False

    async def flow(self, url: str, *, users: int, stop: asyncio.Event) -> None:
        """Requests of users in turn, one every few ms, until it is stopped."""
        async with aiohttp.ClientSession() as browser:
            number = 0
            while not stop.is_set():
                number += 1
                started = time.monotonic()
                async with browser.get(url, headers={"user": f"user_{number % users}"}) as response:
                    self.last_with_profile = (await response.text()) != "nobody"
                self.seconds.append(time.monotonic() - started)
                self.statuses.append(response.status)
                self.with_profile += self.last_with_profile
                await asyncio.sleep(0.005)


@asynccontextmanager
async def sibling(client: SyncClient) -> AsyncIterator[str]:
    """An application of aiohttp with our middleware; its address."""

    @web.middleware
    async def authenticate(request: web.Request, handler: "object") -> web.StreamResponse:
        request[CLAIMS] = {"sub": request.headers["user"], "o": {"id": "org_1"}, "iat": time.time()}
        response: web.StreamResponse = await handler(request)  # type: ignore[operator]
        return response

    async def hello(request: web.Request) -> web.Response:
        profile = request[USER_PROFILE]
        return web.Response(text="nobody" if profile is None else profile.id)

    app = web.Application(middlewares=[authenticate, ensure_profile_middleware(client, budget_s=BUDGET_S)])
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def traffic(client: SyncClient, *, users: int) -> AsyncIterator[Traffic]:
    """Four at a time, for as long as the block lasts. Afterwards none may have failed or waited."""
    stop = asyncio.Event()
    seen = Traffic()
    async with sibling(client) as url:
        flows = [asyncio.create_task(seen.flow(url, users=users, stop=stop)) for _ in range(4)]
        try:
            yield seen
        finally:
            stop.set()
            await asyncio.gather(*flows)

    assert {200} == set(seen.statuses)
    assert max(seen.seconds) < BUDGET_S + ALLOWANCE_S


@pytest.fixture
async def replica(database_url: str) -> AsyncIterator[Replica]:
    made = Replica(database_url, next(free_ports()))
    await made.start()
    yield made
    await made.stop()


async def profiles_again(seen: Traffic, within_s: float) -> None:
    before = seen.with_profile
    async with asyncio.timeout(within_s):
        while seen.with_profile < before + 20:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("users", [5, 100_000], ids=["the same few", "always others"])
async def test_frozen(replica: Replica, users: int) -> None:
    """While SyncService is stopped by SIGSTOP no request fails or waits beyond the budget; afterwards all is well."""
    async with SyncClient(replica.target) as client:
        await in_step(client)
        async with traffic(client, users=users) as seen:
            await profiles_again(seen, 5)
            replica.send(signal.SIGSTOP)
            await asyncio.sleep(6.5)
            replica.send(signal.SIGCONT)
            await profiles_again(seen, 35)
            await in_step(client)


@pytest.mark.parametrize("users", [5, 100_000], ids=["the same few", "always others"])
async def test_killed_and_restarted(replica: Replica, users: int) -> None:
    """While SyncService is killed and comes back no request fails or waits; profiles return within seconds."""
    async with SyncClient(replica.target) as client:
        await in_step(client)
        async with traffic(client, users=users) as seen:
            await profiles_again(seen, 5)
            replica.send(signal.SIGKILL)
            await asyncio.sleep(1)
            await replica.stop()
            await replica.start()
            await profiles_again(seen, 35)
            await in_step(client)


async def test_one_of_two_frozen(database_url: str) -> None:
    """While one of two replicas is frozen the other one answers for both: soon no request goes on without a profile."""
    ports = free_ports()
    replicas = [Replica(database_url, next(ports)) for _ in range(2)]
    try:
        for replica in replicas:
            await replica.start()
        async with SyncClient("ipv4:" + ",".join(replica.target for replica in replicas)) as client:
            await in_step(client)
            async with traffic(client, users=1_000_000) as seen:
                await profiles_again(seen, 5)
                replicas[0].send(signal.SIGSTOP)
                before, requests = seen.with_profile, len(seen.statuses)
                await asyncio.sleep(8)

                assert seen.with_profile - before > 0.1 * (len(seen.statuses) - requests)

                await asyncio.sleep(14)
                unanswered = client.stats.unanswered.total()
                await asyncio.sleep(2)

                assert client.stats.unanswered.total() - unanswered <= 2
    finally:
        for replica in replicas:
            await replica.stop()


async def test_stopped_in_order(replica: Replica) -> None:
    """A SyncService that is told to stop and started again, as in a roll-out, costs no request anything."""
    async with SyncClient(replica.target) as client:
        await in_step(client)
        async with traffic(client, users=50) as seen:
            await profiles_again(seen, 5)
            replica.send(signal.SIGTERM)
            await asyncio.sleep(1)
            await replica.stop()
            await replica.start()
            await profiles_again(seen, 35)
            await in_step(client)
