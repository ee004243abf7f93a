"""The health service, which answers whoever reaches the port."""

import asyncio
import struct

import pytest
from grpc_api.test_limits import frame, header
from grpc_health.v1 import health_pb2, health_pb2_grpc
from stack import Stack

SERVICE = "clerksync.v1.SyncService"
SERVING, NOT_SERVING, UNKNOWN = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)
_DATA, _HEADERS, _SETTINGS, _END_HEADERS, _END_STREAM = 0, 1, 4, 4, 1
_INITIAL_WINDOW_SIZE = 4
"""RFC 9113, 6.5.2."""


async def watching_without_reading(target: str) -> asyncio.StreamWriter:
    """A connection whose other end takes no message: five watches of the health of SyncService."""
    host, port = target.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    writer.write(frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0)) + frame(_SETTINGS, 1, 0, b""))
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/grpc.health.v1.Health/Watch",
        b":authority": b"clerksync",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    block = b"".join(header(name, value) for name, value in fields.items())
    message = health_pb2.HealthCheckRequest(service=SERVICE).SerializeToString()
    for stream in range(1, 11, 2):
        writer.write(frame(_HEADERS, _END_HEADERS, stream, block))
        writer.write(frame(_DATA, _END_STREAM, stream, b"\0" + struct.pack(">I", len(message)) + message))
    await writer.drain()
    return writer


async def test_watchers_who_do_not_read(stack: Stack) -> None:
    """While some watchers' connection takes nothing, others are told of health, and of its changes."""
    assert stack.application._service is not None
    server = stack.application._service._server
    writer = await watching_without_reading(stack.target)
    await asyncio.sleep(0.2)

    async with asyncio.timeout(5):
        watch = health_pb2_grpc.HealthStub(stack.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        statuses = [(await watch.read()).status]
        server.set_serving(False)
        statuses.append((await watch.read()).status)
    watch.cancel()
    writer.transport.abort()

    assert statuses == [SERVING, NOT_SERVING]


@pytest.mark.parametrize("serving", [True, False])
async def test_all_that_there_is(stack: Stack, serving: bool) -> None:
    """The whole and each service are told of, alike; a service that there is not can be watched, until there is."""
    assert stack.application._service is not None
    stack.application._service._server.set_serving(serving)
    health = health_pb2_grpc.HealthStub(stack.channel)

    listed = await health.List(health_pb2.HealthListRequest())
    watch = health.Watch(health_pb2.HealthCheckRequest(service="unknown.Service"))

    assert {name: each.status for name, each in listed.statuses.items()} == dict.fromkeys(
        ("", SERVICE, "clerksync.v1.DeliveryService"), SERVING if serving else NOT_SERVING
    )
    assert (await watch.read()).status == UNKNOWN
    watch.cancel()
