"""`clerksync service` and `clerksync front` as processes: starting, serving, stopping."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import bodies
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running import LOOPBACK, Running, run, until
from stack import WEBHOOK_SECRET, error_info, new_svix_id, now_ms
from transports import TRANSPORTS

from clerksync.v1 import sync_service_pb2
from clerksync_server.app import Application
from clerksync_server.dev.sender import post_event
from clerksync_server.grpc_api.server import ServerEnded
from clerksync_server.settings import load_settings
from clerksync_server.webhook_front.client import sync_service

SECRET = {"CLERK_WEBHOOK_SECRET": WEBHOOK_SECRET}


@asynccontextmanager
async def both(database_url: str, **more: str) -> AsyncIterator[tuple[Running, Running, dict[str, str]]]:
    """A SyncService and a front that finds it, and their addresses."""
    async with Running("service", environment={"DATABASE_URL": database_url} | more) as service:
        addresses = await service.listening()
        target = {"CLERKSYNC_SERVICE_TARGET": addresses["grpc"]}
        async with Running("front", environment=SECRET | target | more) as front:
            listening = await front.listening()
            yield service, front, addresses | {"http": listening["http"], "front_ops": listening["ops"]}


async def post(addresses: dict[str, str], body: bodies.Body, svix_id: str | None = None) -> tuple[int, str]:
    url = f"http://{addresses['http']}/webhooks/clerk"
    return await post_event(url, WEBHOOK_SECRET, svix_id or new_svix_id(), json.dumps(body).encode())


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_a_delivery_through_two_processes(database_url: str, connection: Any) -> None:
    """A signed delivery travels from the front over gRPC into Postgres; each process logs one line about it."""
    async with both(database_url) as (service, front, addresses):
        answer = await post(addresses, bodies.organization("created", "org_1", at=now_ms()), "msg_1")
        await until(lambda: service.log("call") and front.log("delivery"), 5)

        assert answer == (200, '{"outcome": "applied"}')
        assert await connection.fetchval("select name from organization") == "Acme Inc"
        (call,), (delivery,) = service.log("call"), front.log("delivery")
        assert tuple(call[key] for key in ("method", "code", "svix_id", "outcome", "event_type")) == (
            "ApplyClerkEvents",
            "OK",
            "msg_1",
            "applied",
            "organization.created",
        )
        assert tuple(delivery[key] for key in ("svix_id", "status", "result")) == ("msg_1", 200, "applied")


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sigterm_finishes_what_is_in_progress(database_url: str, connection: Any) -> None:
    """After SIGTERM nothing new is taken, what has begun is committed and answered, and the exit code is 0."""
    async with both(database_url) as (service, front, addresses):
        await post(addresses, bodies.organization("created", "org_1", at=1))
        holding = connection.transaction()
        await holding.start()
        await connection.execute("select from organization where clerk_org_id = 'org_1' for update")
        waiting = asyncio.create_task(post(addresses, bodies.organization("updated", "org_1", at=now_ms()), "msg_late"))
        await asyncio.sleep(0.3)

        for process in (service, front):
            process.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        with pytest.raises((grpc.aio.AioRpcError, aiohttp.ClientError)):
            async with grpc.aio.insecure_channel(addresses["grpc"]) as channel:
                stub = sync_service(channel)
                await stub.EnsureOrganization(sync_service_pb2.EnsureOrganizationRequest(clerk_org_id="o"), timeout=1)
        with pytest.raises(aiohttp.ClientError):
            await post(addresses, bodies.organization("created", "org_2", at=now_ms()))
        await holding.rollback()

        assert await waiting == (200, '{"outcome": "applied"}')
        assert [await service.ended(), await front.ended()] == [0, 0]
        assert (
            await connection.fetchval("select count(*) from clerksync.webhook_delivery where svix_id = 'msg_late'") == 1
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_idle_processes_stop_at_once(database_url: str, number: signal.Signals) -> None:
    """An idle process needs no grace."""
    async with both(database_url) as (service, front, _):
        assert await front.stop(number) < 3
        assert await service.stop(number) < 3
        assert (service.process.returncode, front.process.returncode) == (0, 0)


async def test_health_and_readiness(database_url: str) -> None:
    """`/livez`, `/readyz`, `/metrics` and the health service answer for both processes."""
    async with both(database_url) as (_, _, addresses):
        for ops in (addresses["ops"], addresses["front_ops"]):
            assert await get(f"http://{ops}/livez") == (200, "ok\n")
            assert await get(f"http://{ops}/readyz") == (200, "ok\n")
            assert "clerksync_deliveries_total" in (await get(f"http://{ops}/metrics"))[1]
        async with grpc.aio.insecure_channel(addresses["grpc"]) as channel:
            for name in ("", "clerksync.v1.SyncService", "clerksync.v1.DeliveryService"):
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_before_the_migration(empty_database: str) -> None:
    """Without the schema a service starts, says it is not ready and why, refuses work for now, and needs no restart."""
    async with both(empty_database) as (service, _, addresses):
        status, text = await get(f"http://{addresses['ops']}/readyz")
        assert status == 503
        assert "clerksync migrate" in text
        assert (await post(addresses, bodies.organization("created", "org_1", at=now_ms())))[0] == 503

        migrated = run("migrate", environment={"DATABASE_URL": empty_database})

        assert migrated.returncode == 0, migrated.stderr
        await service.logged("the database is ready")
        assert (await post(addresses, bodies.organization("created", "org_1", at=now_ms())))[0] == 200


def test_front_without_a_secret() -> None:
    """Without a webhook secret the front refuses to start, and names the variable."""
    refused = run("front")

    assert refused.returncode == 2
    assert refused.stderr == "clerksync: CLERK_WEBHOOK_SECRET: is not set, and this command needs it\n"


def test_every_wrong_setting_is_told_at_once() -> None:
    """All problems of the environment are told in one go, without values and without a traceback."""
    wrong = {
        "DATABASE_URL": "mysql://user:marked@host/db",
        "CLERK_WEBHOOK_SECRET": "marked",
        "CLERKSYNC_GRPC_LISTEN": "everywhere",
        "CLERKSYNC_MAX_TOKEN_AGE": "-1",
        "CLERKSYNC_LOG_LEVEL": "loud",
    }

    for command in ("service", "front", "dev", "migrate"):
        refused = run(command, environment=wrong)

        assert refused.returncode == 2
        assert len(wrong) == len(refused.stderr.splitlines()), refused.stderr
        assert all(variable in refused.stderr for variable in wrong)
        assert "marked" not in refused.stderr


@pytest.mark.parametrize("variable", ["CLERKSYNC_GRPC_LISTEN", "CLERKSYNC_OPS_LISTEN"])
def test_port_in_use(variable: str, postgres_server_dsn: str) -> None:
    """A port that is taken is told in words, and the process ends."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        refused = run("service", environment=LOOPBACK | {"DATABASE_URL": postgres_server_dsn, variable: address})

    assert refused.returncode == 1
    assert f"clerksync: {address} cannot be listened on" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_draining_is_told_with_its_reason(database_url: str) -> None:
    """A call that reaches a stopping process on an open connection is UNAVAILABLE with the reason SHUTTING_DOWN."""
    settings = load_settings(DATABASE_URL=database_url, **LOOPBACK, **SECRET)
    application = Application(settings, service=True, front=False, dev=True)
    await application.start()
    try:
        async with grpc.aio.insecure_channel(str(application.grpc_address)) as channel:
            assert application._service is not None
            await application._service._server._calls.drain(0)
            stub = sync_service(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.EnsureOrganization(sync_service_pb2.EnsureOrganizationRequest(clerk_org_id="org_1"))
    finally:
        await application.stop()

    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert error_info(caught.value).reason == "SHUTTING_DOWN"


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_process_ends_with_its_server(database_url: str) -> None:
    """A process whose gRPC server has ended by itself ends as well, so that it is started again."""
    settings = load_settings(DATABASE_URL=database_url, **LOOPBACK, **SECRET)
    application = Application(settings, service=True, front=False, dev=True)
    await application.start()
    try:
        waiting = asyncio.create_task(application.wait_for_signal())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert application._service is not None
        await application._service._server._server.stop(0)
        with pytest.raises(ServerEnded):
            await asyncio.wait_for(waiting, timeout=5)
    finally:
        await application.stop()


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_clients_that_only_wait_do_not_hold_up_the_stop(database_url: str) -> None:
    """Health and removal watches, silent connections and endless uploads leave the grace to work in progress."""
    async with both(database_url, CLERKSYNC_SHUTDOWN_GRACE="2") as (service, front, addresses):
        host, port = addresses["http"].split(":")
        upload = b"POST /webhooks/clerk HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        _, uploading = await asyncio.open_connection(host, int(port))
        uploading.write(upload)
        _, silent = await asyncio.open_connection(*addresses["grpc"].split(":"))
        async with grpc.aio.insecure_channel(addresses["grpc"]) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            request = sync_service_pb2.WatchRemovalsRequest()
            removals: list[Any] = [sync_service(channel).WatchRemovals(request) for _ in range(50)]
            assert all([(await stream.read()).reset for stream in removals])

            assert await service.stop() < 2
            assert await front.stop() < 3.5
            assert (service.process.returncode, front.process.returncode) == (0, 0)
        for writer in (uploading, silent):
            writer.close()


async def test_nothing_personal_in_logs_and_metrics(database_url: str, connection: Any) -> None:
    """Names, addresses, roles and ids of people stay out of logs and metrics, on success and on failure."""
    t = now_ms()
    bad_constraint = "alter table organization add constraint no_marked check (name not like 'refused%')"
    await connection.execute(bad_constraint)
    told: list[str] = []
    async with both(database_url) as (service, front, addresses):
        for body in (
            bodies.membership("created", "user_marked", "org_marked", at=t, joined_at=t, role="org:marked"),
            bodies.organization("created", "org_marked", at=t, name="marked Ltd"),
            bodies.organization("updated", "org_marked", at=t + 1, name="refused marked Ltd"),
            {"type": "user.deleted", "data": {"id": "user marked"}},
            {"type": "marked.type", "data": {"id": "user_marked"}},
        ):
            await post(addresses, body)
        async with grpc.aio.insecure_channel(addresses["grpc"]) as channel:
            stub = sync_service(channel)
            for user in ("user_marked", "user marked"):
                request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=user, clerk_org_id="org_marked")
                try:
                    await stub.EnsureUserProfile(request)
                except grpc.aio.AioRpcError as error:
                    told.append(error.details() or "")
        metrics = [(await get(f"http://{addresses[ops]}/metrics"))[1] for ops in ("ops", "front_ops")]
        written = [*told, service.out, service.err, front.out, front.err, *metrics]

        assert await connection.fetchval("select count(*) from clerksync.webhook_delivery") == 5
        assert not any("marked" in text.replace("no_marked", "") for text in written)


async def test_a_database_that_refuses_connections(database_url: str) -> None:
    """A wrong password makes a service that is not ready, and says so without the password."""
    wrong = database_url.replace("@", "wrong@")
    async with Running("service", environment={"DATABASE_URL": wrong}) as service:
        addresses = await service.listening()
        status, text = await get(f"http://{addresses['ops']}/readyz")

        assert status == 503
        assert "InvalidPasswordError" in text
        assert "wrong" not in text + service.err
