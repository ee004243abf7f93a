"""Postgres goes away, freezes, comes back: nothing acknowledged is lost, and nothing needs a restart."""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import bodies
import grpc
import pytest
from crash.site import free_ports
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running import LOOPBACK, until
from stack import WEBHOOK_SECRET, Stack, error_details, error_info, now_ms

from bench.cpu import memory_bytes
from clerksync.v1 import sync_service_pb2
from clerksync_server.app import Application
from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres
from clerksync_server.settings import load_settings


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server of its own, to be stopped at will."""
    with tempfile.TemporaryDirectory(prefix="clerksync-outage-") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "postgres", port=next(free_ports())) as server:
            yield server


@pytest.fixture
async def stack(postgres: EmbeddedPostgres) -> AsyncIterator[Stack]:
    await migrate(postgres.dsn)
    settings = load_settings(DATABASE_URL=postgres.dsn, CLERK_WEBHOOK_SECRET=WEBHOOK_SECRET, **LOOPBACK)
    application = Application(settings, service=True, front=True, dev=True)
    await application.start()
    async with Stack(application, settings) as running:
        yield running
    await application.stop()


async def readiness(stack: Stack) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{stack.ops_url}/readyz") as response:
        return response.status


async def health(stack: Stack) -> int:
    answer = await health_pb2_grpc.HealthStub(stack.channel).Check(health_pb2.HealthCheckRequest())
    status: int = answer.status
    return status


async def test_postgres_stops_and_comes_back(postgres: EmbeddedPostgres, stack: Stack) -> None:
    """Meanwhile senders get 503 and callers UNAVAILABLE, both told when to come again; afterwards all is as before."""
    await stack.post(bodies.organization("created", "org_1", at=now_ms()))
    port = int(postgres.dsn.rpartition(":")[2].split("/")[0])
    postgres.stop()

    answer = await stack.post(bodies.organization("created", "org_2", at=now_ms()), svix_id="msg_2")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.ensure_profile("user_1", "org_1")

    async def is_not_ready() -> bool:
        return (await readiness(stack), await health(stack)) == (503, health_pb2.HealthCheckResponse.NOT_SERVING)

    await until(is_not_ready, 10)

    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert error_info(caught.value).reason == "DATABASE_UNAVAILABLE"
    (retry,) = [d for d in error_details(caught.value) if isinstance(d, error_details_pb2.RetryInfo)]
    assert retry.retry_delay.seconds > 0

    assert str(port) in postgres.start()

    async def is_ready() -> bool:
        return (await readiness(stack), await health(stack)) == (200, health_pb2.HealthCheckResponse.SERVING)

    await until(is_ready, 10)
    again = await stack.post(bodies.organization("created", "org_2", at=now_ms()), svix_id="msg_2")
    assert (again.status, again.outcome) == (200, "applied")
    ids = await stack.rows("select clerk_org_id from organization order by 1")
    assert [row["clerk_org_id"] for row in ids] == ["org_1", "org_2"]


async def test_connections_cut_by_the_server(postgres: EmbeddedPostgres, stack: Stack) -> None:
    """A connection that the server has cut costs at most one answer 503; the sender's next attempt gets through."""
    await stack.post(bodies.organization("created", "org_1", at=now_ms()))
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'clerksync'"
    await stack.rows(cut)

    async def delivered() -> bool:
        answer = await stack.post(bodies.organization("created", "org_2", at=now_ms()), svix_id="msg_2")
        assert answer.status in (200, 503)
        return bool(answer.status == 200)

    await until(delivered, 5)


async def test_removals_after_a_crash(postgres: EmbeddedPostgres, stack: Stack) -> None:
    """A crash of Postgres may give out numbers of transactions again, so whoever watches removals starts anew."""
    call: Any = stack.sync.WatchRemovals(sync_service_pb2.WatchRemovalsRequest())
    before = await call.read()
    (backend,) = await stack.rows("select pid from pg_stat_activity where application_name = 'clerksync removals'")
    os.kill(backend["pid"], signal.SIGKILL)

    async with asyncio.timeout(20):
        while not (after := await call.read()).reset:
            pass
    call.cancel()
    assert before.position.split("/")[1] != after.position.split("/")[1]


async def test_a_frozen_postgres(postgres: EmbeddedPostgres, stack: Stack) -> None:
    """A server that accepts connections but answers nothing is an outage too, well inside Svix's 15 s."""
    await stack.post(bodies.organization("created", "org_1", at=now_ms()))
    async with frozen(postgres, stack):
        started = asyncio.get_running_loop().time()
        answer = await stack.post(bodies.organization("created", "org_2", at=now_ms()))
        took_s = asyncio.get_running_loop().time() - started

    assert answer.status == 503
    assert took_s < 14

    async def delivered() -> bool:
        return (await stack.post(bodies.organization("created", "org_2", at=now_ms()))).status == 200

    await until(delivered, 15, every_s=0.5)


@asynccontextmanager
async def frozen(postgres: EmbeddedPostgres, stack: Stack) -> AsyncIterator[None]:
    """Postgres, and all that it has started for connections, stands still meanwhile."""
    assert postgres.pid is not None
    backends = await stack.rows("select pid from pg_stat_activity where pid <> pg_backend_pid()")
    pids = [postgres.pid, *(int(row["pid"]) for row in backends)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


async def test_a_crowd_before_a_frozen_postgres(postgres: EmbeddedPostgres, stack: Stack) -> None:
    """No more waits for it than there is room for: the rest is told so at once, and memory stays as it is."""
    t = now_ms()
    await stack.post(bodies.membership("created", "user_1", "org_1", at=t, joined_at=t))
    await stack.ensure_profile("user_1", "org_1")
    lookups = sync_service_pb2.BatchEnsureUserProfilesRequest(
        requests=[
            sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=f"user_{n}", clerk_org_id="org_1")
            for n in range(1000)
        ]
    )
    told = sync_service_pb2.ApplyClerkEventsRequest()
    for n in range(1000):
        item = told.requests.add(
            svix_id=f"msg_{n}",
            body=json.dumps(bodies.membership("created", f"user_{n}", "org_1", at=t, joined_at=t)).encode(),
        )
        item.attempted_at.GetCurrentTime()

    async def fill(number: int) -> None:
        """What nobody waits for any longer takes up room as well."""
        calls = [code_of(stack.sync.ApplyClerkEvents(told, timeout=1)) for _ in range(number)]
        calls += [code_of(stack.sync.BatchEnsureUserProfiles(lookups, timeout=1)) for _ in range(12)]
        await asyncio.gather(*calls)

    refused = []
    async with frozen(postgres, stack):
        # Once more when all lanes are stuck.
        await fill(1)
        await fill(3)
        before = memory_bytes(os.getpid())
        for n in range(40):
            # Some room is free again when an attempt to connect has failed.
            body = bodies.membership("created", f"user_{n}", "org_1", at=t, joined_at=t)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    answer = await stack.post(body)
                    code = await code_of(stack.sync.BatchEnsureUserProfiles(lookups))
                    refused.append((answer.status, answer.json["error"]["code"], "Retry-After" in answer.headers, code))
            if n == 20:
                await fill(1)
        grown = memory_bytes(os.getpid()) - before

    assert {(503, "overloaded", True, grpc.StatusCode.RESOURCE_EXHAUSTED)} == set(refused)
    assert len(refused) > 30
    assert grown < 16 * 1024 * 1024

    async def is_served() -> bool:
        return (await stack.post(bodies.membership("created", "user_3", "org_1", at=t, joined_at=t))).status == 200

    await until(is_served, 15, every_s=0.5)


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_ensure_calls_before_a_frozen_postgres(postgres: EmbeddedPostgres, stack: Stack) -> None:
    """However many wait, of whatever kind, each is told within seconds of its own arrival, and when to come again."""
    await stack.ensure_profile("user_1", "org_1")
    loop = asyncio.get_running_loop()

    async def told(call: Any) -> tuple[grpc.StatusCode, str, bool, bool]:
        started = loop.time()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        error = caught.value
        hint = any(isinstance(detail, error_details_pb2.RetryInfo) for detail in error_details(error))
        return error.code(), error_info(error).reason, hint, loop.time() - started < 11

    calls = []
    async with frozen(postgres, stack):
        # While the first look-up is stuck, while its connection is made anew, and while that fails again.
        for second in range(14):
            user, org = f"user_{second}", f"org_{second}"
            request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=user, clerk_org_id=org)
            batch = sync_service_pb2.BatchEnsureUserProfilesRequest(requests=[request])
            organization = sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=org)
            asked = [
                stack.sync.EnsureUserProfile(request),
                stack.sync.BatchEnsureUserProfiles(batch),
                stack.sync.EnsureOrganization(organization),
            ]
            calls += [asyncio.create_task(told(call)) for call in asked]
            await asyncio.sleep(1)
        answers = await asyncio.gather(*calls)

    assert {(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", True, True)} == set(answers)

    async def is_served() -> bool:
        return await code_of(stack.ensure_profile("user_1", "org_1")) is grpc.StatusCode.OK

    await until(is_served, 15, every_s=0.5)


async def test_a_read_only_postgres(postgres: EmbeddedPostgres, stack: Stack) -> None:
    """A server that refuses writes, as after a failover to a standby, is not ready, and nothing is acknowledged."""
    name = postgres.dsn.rpartition("/")[2]
    await stack.rows(f"alter database {name} set default_transaction_read_only = on")
    await stack.rows("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'clerksync'")

    async def is_not_ready() -> bool:
        return await readiness(stack) == 503

    await until(is_not_ready, 10)
    assert (await stack.post(bodies.organization("created", "org_1", at=now_ms()))).status == 503
