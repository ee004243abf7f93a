"""What callers send too much of is refused by size or number, at once, and costs no memory."""

import asyncio
import json
import os
import struct
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from threading import Event, Thread
from typing import Any, Self

import bodies
import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from stack import Stack, error_details, error_info, new_svix_id, now_ms

from bench.cpu import memory_bytes
from clerksync.v1 import sync_service_pb2
from clerksync.v1.sync_service_pb2_grpc import SyncServiceStub
from clerksync_server.access import callers
from clerksync_server.access.callers import Caller

MIB = 1024 * 1024
_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0, 1, 3, 4
_MAX_CONCURRENT_STREAMS = 3
"""RFC 9113, 6.5.2."""
_REFUSED_STREAM = 7
"""RFC 9113, 7: clients try such a call again by themselves."""
Batch = sync_service_pb2.BatchEnsureUserProfilesRequest
Profile = sync_service_pb2.EnsureUserProfileRequest


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name: bytes, value: bytes) -> bytes:
    """A literal field without indexing, not compressed (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def bomb(size: int) -> bytes:
    """A gRPC message of so many zeros, compressed a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(MIB)
    packed = b"".join([*(packer.compress(zeros) for _ in range(size // MIB)), packer.flush()])
    return b"\1" + struct.pack(">I", len(packed)) + packed


@asynccontextmanager
async def raw(
    target: str, *messages: bytes, finished: bool = True, metadata: Mapping[bytes, bytes] | None = None
) -> AsyncIterator[asyncio.StreamReader]:
    """A connection on which EnsureUserProfile is called once with each message, whatever it is."""
    host, port = target.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(_SETTINGS, 0, 0, b"") + frame(_SETTINGS, 1, 0, b""))
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/clerksync.v1.SyncService/EnsureUserProfile",
        b":authority": b"clerksync",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        b"grpc-encoding": b"gzip",
        **(metadata or {}),
    }
    block = b"".join(header(name, value) for name, value in fields.items())
    for number, message in enumerate(messages):
        assert len(message) < 16_384, "of a size that one frame holds"
        stream = 2 * number + 1
        writer.write(frame(_HEADERS, 4, stream, block) + frame(_DATA, int(finished), stream, message))
    await writer.drain()
    yield reader
    writer.transport.abort()


class Growth:
    """How far this process's memory grows at most, in bytes; watched by a thread, as unpacking may block the loop."""

    def __enter__(self) -> Self:
        self._over = Event()
        self._before = self.peak = memory_bytes(os.getpid())
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.001):
            self.peak = max(self.peak, memory_bytes(os.getpid()))

    @property
    def bytes(self) -> int:
        return self.peak - self._before


async def test_compressed_bombs(stack: Stack, transport: str) -> None:
    """A message of some KB that unpacks to a thousand times as much is refused by its size; by grpcio before it has."""
    await stack.ensure_profile("user_1", "org_1")
    message = bomb(15 * MIB)
    answers = b""

    with Growth() as growth:
        async with raw(stack.target, message, message, message) as reader, asyncio.timeout(10):
            # END_STREAM of each of the three.
            while answers.count(b"\x01\x05\x00\x00\x00") < 3:
                answers += await reader.read(65536)

    # The other one unpacks all of it first, as docs/security.md tells.
    assert transport == "native" or growth.bytes < 12 * MIB
    assert (await stack.ensure_profile("user_1", "org_1")).HasField("user_profile")


async def test_metadata_has_a_largest_size(stack: Stack) -> None:
    """Metadata of 12 KiB goes through, such of 20 KiB never does."""

    async def is_answered(size: int) -> bool:
        try:
            await stack.sync.EnsureUserProfile(
                Profile(clerk_user_id="user_1", clerk_org_id="org_1"), metadata=(("x", "y" * size),), timeout=5
            )
        except grpc.aio.AioRpcError:
            return False
        return True

    assert [[True] * 5, [False] * 5] == [[await is_answered(kib * 1024) for _ in range(5)] for kib in (12, 20)]


async def next_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Its kind and its payload."""
    length = int.from_bytes(await reader.readexactly(3))
    kind, *_ = await reader.readexactly(6)
    return kind, await reader.readexactly(length)


async def test_calls_at_the_same_time(stack: Stack) -> None:
    """A client is told that it may make 500 calls at the same time on one connection; those beyond are refused."""
    # Each of a message that has only begun, so that none of them ends.
    begun = b"\0" + struct.pack(">I", 1000)
    async with raw(stack.target, *[begun] * 503, finished=False) as reader, asyncio.timeout(5):
        kind, payload = await next_frame(reader)
        settings = dict(struct.iter_unpack(">HI", payload))
        refused: list[bytes] = []
        while len(refused) < 3:
            other, payload = await next_frame(reader)
            refused += [payload] * (other == _RST_STREAM)

    assert (kind, settings[_MAX_CONCURRENT_STREAMS]) == (_SETTINGS, 500)
    assert refused == [struct.pack(">I", _REFUSED_STREAM)] * 3


@pytest.mark.parametrize("path", [b"/\xff", b"/\xed\xa0\x80", b"/grpc.health.v1.Health/\xff", b"/", b"//"])
async def test_paths_of_no_method(stack: Stack, path: bytes) -> None:
    """A call of a path that is no text, or no method, is refused, and the server goes on serving the others."""
    async with raw(stack.target, b"\0\0\0\0\0", metadata={b":path": path}) as reader, asyncio.timeout(5):
        while (await next_frame(reader))[0] == _SETTINGS:
            pass

    await asyncio.sleep(0.2)  # The end of a server takes a moment.
    assert (await stack.ensure_profile("user_1", "org_1")).HasField("user_profile")


@pytest.mark.parametrize("transport", ["grpcio"])
async def test_a_crowd_that_python_has_not_taken_up(stack: Stack) -> None:
    """However many calls come while the process has no time for them, each is answered, and none is CANCELLED."""
    await stack.ensure_profile("user_1", "org_1")
    request = Profile(clerk_user_id="user_1", clerk_org_id="org_1")
    async with AsyncExitStack() as channels:
        options = [("grpc.use_local_subchannel_pool", 1)]
        stubs: list[Any] = [
            SyncServiceStub(await channels.enter_async_context(grpc.aio.insecure_channel(stack.target, options)))
            for _ in range(20)
        ]
        for stub in stubs:
            await stub.EnsureUserProfile(request)
        calls = [asyncio.ensure_future(stub.EnsureUserProfile(request)) for stub in stubs for _ in range(240)]
        await asyncio.sleep(0)
        # Meanwhile the threads of grpcio send and read all of them.
        time.sleep(2)  # noqa: ASYNC251
        answers = await asyncio.gather(*calls, return_exceptions=True)

    assert {"EnsureUserProfileResponse"} == {
        answer.code().name if isinstance(answer, grpc.aio.AioRpcError) else type(answer).__name__ for answer in answers
    }


@pytest.mark.parametrize("transport", ["grpcio"])
async def test_who_connects_and_says_nothing(stack: Stack) -> None:
    """A connection on which nobody speaks HTTP/2 is ended after 10 s."""
    host, port = stack.target.split(":")
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(15):
        while await reader.read(1000):
            pass
    writer.close()

    assert 8 < time.monotonic() - started < 13


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call comes from a caller that may make ten a second."""
    monkeypatch.setattr(callers, "_NOBODY", Caller(callers.ANONYMOUS, calls_per_second=10))


@pytest.mark.usefixtures("limited")
async def test_a_caller_with_a_rate_limit(stack: Stack) -> None:
    """Calls beyond the rate are RESOURCE_EXHAUSTED, with the reason and when to come again; batches count as items."""
    assert [await ensured(stack, n) for n in range(9)] == [True] * 9
    batch = Batch(requests=[Profile(clerk_user_id="user_1", clerk_org_id="org_1")] * 21)
    assert len((await stack.sync.BatchEnsureUserProfiles(batch)).results) == 21

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.ensure_profile("user_1", "org_1")

    assert (caught.value.code(), error_info(caught.value).reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
    )
    (retry,) = [each for each in error_details(caught.value) if isinstance(each, error_details_pb2.RetryInfo)]
    assert retry.retry_delay.seconds in (2, 3)


async def ensured(stack: Stack, number: int) -> bool:
    return (await stack.ensure_profile(f"user_{number}", "org_1")).HasField("user_profile")


@pytest.mark.parametrize("transport", ["grpcio"])
async def test_a_flood_of_one_organization(stack: Stack) -> None:
    """While one organization imports 20,000 memberships another one's deliveries are applied, none after half of it."""
    t = now_ms()
    waits: list[float] = []
    begun = time.monotonic()
    importing = asyncio.create_task(flood(stack, [joining(number, t) for number in range(20_000)]))
    number = 0
    while not importing.done():
        number += 1
        started = time.monotonic()
        answer = await stack.post(bodies.membership("created", f"user_{number}", "org_small", at=t, joined_at=t))
        waits.append(time.monotonic() - started)
        assert answer.outcome == "applied"
        await asyncio.sleep(0.02)
    applied, told_to_come_again = await importing

    assert applied == 20_000
    assert told_to_come_again > 0
    assert number > 10
    # Behind all of them it would have waited for the end.
    assert max(waits) < (time.monotonic() - begun) / 2


def joining(number: int, at: int) -> sync_service_pb2.ApplyClerkEventRequest:
    body = bodies.membership("created", f"user_{number}", "org_1", at=at, joined_at=at)
    request = sync_service_pb2.ApplyClerkEventRequest(svix_id=new_svix_id(), body=json.dumps(body).encode())
    request.attempted_at.GetCurrentTime()
    return request


async def flood(stack: Stack, waiting: list[sync_service_pb2.ApplyClerkEventRequest]) -> tuple[int, int]:
    """Delivers them, as fast as it can; returns how many were applied, and how often there was no room for one."""
    applied = refused = 0

    async def send() -> None:
        nonlocal applied, refused
        while waiting:
            requests = [waiting.pop() for _ in range(min(300, len(waiting)))]
            response = await stack.sync.ApplyClerkEvents(sync_service_pb2.ApplyClerkEventsRequest(requests=requests))
            for request, result in zip(requests, response.results, strict=True):
                if result.HasField("response"):
                    applied += 1
                else:
                    assert result.error.code in (
                        grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
                        grpc.StatusCode.ABORTED.value[0],
                    )
                    refused += result.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
                    waiting.append(request)
            await asyncio.sleep(0.05)

    await asyncio.gather(*(send() for _ in range(20)))
    return applied, refused
