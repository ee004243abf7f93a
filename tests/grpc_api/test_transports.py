"""What a transport has to do beside carrying messages; like this folder's other tests, it runs with every transport."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY
from running import until
from stack import Stack
from transports import NATIVE

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.access.authorizer import everyone
from clerksync_server.grpc_api.delivery_servicer import DeliveryServicer
from clerksync_server.grpc_api.server import CannotListen, GrpcServer
from clerksync_server.grpc_api.sync_servicer import SyncServicer
from clerksync_server.settings.types import Address, Transport

Apply = sync_service_pb2.ApplyClerkEventRequest
Profile = sync_service_pb2.EnsureUserProfileRequest
Watch = sync_service_pb2.WatchRemovalsRequest
ANYWHERE = Address("127.0.0.1", 0)


class Servicer(SyncServicer):
    """Calls that last, and streams that say more than anybody reads; nothing else of it is asked."""

    def __init__(self) -> None:
        self.begun = 0
        self.said = 0
        self.ended: list[str] = []

    async def EnsureUserProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._last("call")

    async def WatchRemovals(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        while request.position == "much":
            yield sync_service_pb2.WatchRemovalsResponse(position="x" * 20_000)
            self.said += 1
            await asyncio.sleep(0)
        await self._last("stream")
        yield sync_service_pb2.WatchRemovalsResponse()

    async def _last(self, what: str) -> None:
        self.begun += 1
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.ended.append(what)
            raise


class Served:
    """A server with that servicer, and a channel to it."""

    def __init__(self, server: GrpcServer, servicer: Servicer, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.servicer = servicer
        self.sync: Any = sync_service_pb2_grpc.SyncServiceStub(channel)


def make_server(servicer: Servicer, transport: Transport) -> GrpcServer:
    unused: Any = None
    return GrpcServer(servicer, DeliveryServicer(unused), access=everyone(), transport=transport)


@pytest.fixture
async def served(transport: Transport) -> AsyncIterator[Served]:
    servicer = Servicer()
    server = make_server(servicer, transport)
    address = await server.start(ANYWHERE)
    async with grpc.aio.insecure_channel(str(address)) as channel:
        yield Served(server, servicer, channel)
    await server.stop(0)


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_watchers_that_do_not_read_hold_nothing_up(served: Served) -> None:
    """More of them than the loop's executor has threads leave it free, for names to be looked up, and end at a stop."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    watchers = [served.sync.WatchRemovals(Watch(position="much")) for _ in range(4)]
    for watcher in watchers:
        await watcher.read()
    said = 0
    while said != served.servicer.said:
        said = served.servicer.said
        await asyncio.sleep(0.5)

    async with asyncio.timeout(10):
        await asyncio.to_thread(lambda: None)
        await served.server.stop(0.1)


@pytest.mark.parametrize("method", ["EnsureUserProfile", "WatchRemovals"])
async def test_who_is_not_waited_for_is_not_served(served: Served, method: str) -> None:
    """A call whose caller has cancelled it, or whose deadline has passed, is cancelled here too."""
    request: Any = Profile() if method == "EnsureUserProfile" else Watch()
    calls = [getattr(served.sync, method)(request, timeout=timeout) for timeout in (None, 0.3)]
    reading = [asyncio.ensure_future(code_of(call.read() if method == "WatchRemovals" else call)) for call in calls]
    await until(lambda: served.servicer.begun == 2, 5)

    calls[0].cancel()

    await until(lambda: len(served.servicer.ended) == 2, 5)
    with contextlib.suppress(asyncio.CancelledError):
        await reading[0]
    assert await reading[1] is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_calls_in_progress_are_counted(served: Served) -> None:
    """The gauge shows the calls that are being answered, and none once they have ended, however that was."""
    calls = [served.sync.EnsureUserProfile(Profile()) for _ in range(3)]
    reading = [asyncio.ensure_future(code_of(call)) for call in calls]
    await until(lambda: REGISTRY.get_sample_value("clerksync_grpc_calls_in_progress") == 3, 5)

    for call in calls:
        call.cancel()

    await until(lambda: REGISTRY.get_sample_value("clerksync_grpc_calls_in_progress") == 0, 5)
    await asyncio.gather(*reading, return_exceptions=True)


async def test_a_port_that_is_taken(transport: Transport) -> None:
    """A second server on a port is told so, whichever transport each of them has."""
    for holder in ("grpcio", transport):
        first, second = make_server(Servicer(), holder), make_server(Servicer(), transport)
        address = await first.start(ANYWHERE)
        assert address.port

        with pytest.raises(CannotListen):
            await second.start(address)

        await second.stop(0)
        await first.stop(0)


@pytest.mark.parametrize("transport", [NATIVE])
async def test_no_folder_for_temporary_files(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transport that needs a socket of its own says what it lacks where no file can be made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    server = make_server(Servicer(), transport)

    with pytest.raises(CannotListen, match="TMPDIR"):
        await server.start(ANYWHERE)

    await server.stop(0)


async def test_messages_have_a_largest_size(stack: Stack) -> None:
    """A message beyond it is RESOURCE_EXHAUSTED, and the connection goes on."""
    too_large = Apply(svix_id="msg_1", body=b" " * (2 * 1024 * 1024))

    assert await code_of(stack.sync.ApplyClerkEvent(too_large)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await code_of(stack.ensure_profile("user_1", "org_1")) is grpc.StatusCode.OK


async def test_compressed_requests(stack: Stack) -> None:
    """A client may compress with gzip, the compression that all implementations have."""
    request = Profile(clerk_user_id="u" * 200, clerk_org_id="o" * 200)

    assert await code_of(stack.sync.EnsureUserProfile(request, compression=grpc.Compression.Gzip)) is grpc.StatusCode.OK


async def test_methods_that_there_are_not(stack: Stack) -> None:
    """An unknown method or service is UNIMPLEMENTED."""
    for path in ("/clerksync.v1.SyncService/Unknown", "/unknown.Service/Unknown"):
        call = stack.channel.unary_unary(path, Empty.SerializeToString, Empty.FromString)
        assert await code_of(call(Empty())) is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_watched(stack: Stack) -> None:
    """Who watches the health of SyncService is told each change."""
    watch = health_pb2_grpc.HealthStub(stack.channel).Watch(
        health_pb2.HealthCheckRequest(service="clerksync.v1.SyncService")
    )
    statuses = [(await watch.read()).status]
    assert stack.application._service is not None
    stack.application._service._server.set_serving(False)
    statuses.append((await watch.read()).status)
    watch.cancel()

    assert [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING] == statuses
