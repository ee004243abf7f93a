"""The front's door, by raw sockets: who is slow, silent, or too many, costs little and keeps nobody out."""

import asyncio
import contextlib
import gc
import os
import time
from typing import Any

import bodies
import pytest
from stack import Stack, new_svix_id, now_ms
from webhook.peers import HEAD, MIB

from bench.cpu import memory_bytes
from clerksync_server import http_connections
from clerksync_server.http_connections import HEADERS_S
from clerksync_server.webhook_front import reading


async def test_headers_may_not_take_long(stack: Stack, connect: Any) -> None:
    """Whoever has not sent all of its headers after 10 s is cut off, also if it sends a byte now and then."""
    started = time.monotonic()
    silent, trickling = await connect(stack.webhook_url), await connect(stack.webhook_url)
    await trickling.send(HEAD + b"x-slow: ")
    ended = [asyncio.create_task(peer.is_ended(HEADERS_S + 5)) for peer in (silent, trickling)]
    while not all(task.done() for task in ended):
        await trickling.send(b"x")
        await asyncio.sleep(0.2)

    assert await asyncio.gather(*ended) == [True, True]
    assert HEADERS_S - 1 < time.monotonic() - started < HEADERS_S + 2


async def test_slow_headers_of_a_later_request(start_stack: Any, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for the first request of a connection holds for the next ones; without one it is kept for longer."""
    monkeypatch.setattr(http_connections.ConnectionGuard.__init__, "__kwdefaults__", {"headers_s": 0.5, "idle_s": 3.0})
    stack = await start_stack()
    slow, idle = await connect(stack.webhook_url), await connect(stack.webhook_url)
    for peer in (slow, idle):
        await peer.send(HEAD + b"Content-Length: 0\r\n\r\n")
        assert await peer.status() == 400
    await slow.send(HEAD)

    assert await slow.is_ended(2)
    assert not await idle.is_ended(0.5)
    assert await idle.is_ended(5)


async def test_as_many_connections_as_are_allowed(start_stack: Any, connect: Any) -> None:
    """Where too many connect without asking anything the one that has waited longest goes, and who asks is served."""
    stack = await start_stack(CLERKSYNC_HTTP_MAX_CONNECTIONS="20")
    silent = [await connect(stack.webhook_url) for _ in range(60)]

    answer = await stack.post(bodies.organization("created", "org_1", at=now_ms()))

    ended = [await peer.is_ended(0.1) for peer in silent]
    assert answer.outcome == "applied"
    assert ended == [True] * 41 + [False] * 19


async def test_headers_have_a_largest_size(stack: Stack, connect: Any) -> None:
    """Too long a field, too many fields, and too many bytes of headers in all are refused, however they are cut up."""
    fields = [
        [b"x: " + b"y" * 9000],
        [b"x-%d: y" % number for number in range(200)],
        [b"x-%d: " % number + b"y" * 1000 for number in range(60)],
    ]
    statuses = []
    for lines in fields:
        peer = await connect(stack.webhook_url)
        status = asyncio.create_task(peer.status())
        await peer.send(HEAD)
        for line in [*lines, b""]:
            if not status.done():
                await peer.send(line + b"\r\n")
                await asyncio.sleep(0.001)
        statuses.append(await status)

    assert statuses == [400, 400, 431]


async def test_an_end_of_headers_in_two_pieces(stack: Stack, connect: Any) -> None:
    """However the bytes of requests are cut up, and several of them sent at once, each is answered, in order."""
    request = HEAD + b"Content-Length: 3\r\n\r\nabc"
    peer = await connect(stack.webhook_url)
    for cut in (1, len(request) - 5, len(request) - 4):
        await peer.send(request[:cut])
        await asyncio.sleep(0.05)
        await peer.send(request[cut:])
        assert await peer.status() == 400
    for byte in request:
        await peer.send(bytes([byte]))
        await asyncio.sleep(0.001)
    assert await peer.status() == 400
    await peer.send(request * 100 + b"GET /elsewhere HTTP/1.1\r\nHost: front\r\n\r\n" + request)

    assert [await peer.status() for _ in range(102)] == [400] * 100 + [404, 400]


async def test_a_body_without_end(stack: Stack, connect: Any) -> None:
    """A chunked body that goes on and on is refused at 1 MiB, and costs no memory."""
    peer = await connect(stack.webhook_url)
    await peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    status = asyncio.create_task(peer.status())
    before = memory_bytes(os.getpid())
    sent = 0
    while not status.done() and sent < 64 * MIB:
        await peer.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        sent += 65536

    assert await status == 413
    assert memory_bytes(os.getpid()) - before < 16 * MIB


async def test_unsigned_bodies_have_a_bounded_size_in_all(stack: Stack, connect: Any) -> None:
    """Many large bodies that never end are turned away where there is no room for them; small ones are read."""
    peers = [await connect(stack.webhook_url) for _ in range(80)]
    before = memory_bytes(os.getpid())
    for peer in peers:
        await peer.send(HEAD + b"Content-Length: %d\r\n\r\n" % MIB)
    await asyncio.gather(*(peer.send(b" " * (MIB - 1)) for peer in peers))
    turned_away = 0
    for peer in peers:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                turned_away += await peer.status() in (503, 0)
    grown = memory_bytes(os.getpid()) - before

    answer = await stack.post(bodies.organization("created", "org_1", at=now_ms()), svix_id=new_svix_id())

    assert turned_away >= 80 - 1 - reading._MOST_BYTES // (MIB - reading._SMALL_BYTES - 1)
    assert grown < 100 * MIB
    assert answer.outcome == "applied"


@pytest.mark.parametrize(
    ("head", "sent", "answered"),
    [
        (HEAD + b"Content-Length: %d\r\n\r\n" % MIB, b" " * 256 * 1024, False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n200000\r\n", b" " * (MIB + MIB // 2), True),
    ],
    ids=["left", "too large"],
)
async def test_refused_bodies_leave_nothing(
    stack: Stack, connect: Any, head: bytes, sent: bytes, answered: bool
) -> None:
    """What was read of a body goes when it is refused, or its sender leaves, without a garbage collection."""
    gc.disable()
    try:
        before = memory_bytes(os.getpid())
        for _ in range(300):
            peer = await connect(stack.webhook_url)
            await peer.send(head)
            # More than the kernels of both sides take by themselves, so it is being read.
            await peer.send(sent)
            if answered:
                assert await peer.status() == 413
            peer.writer.transport.abort()
        await asyncio.sleep(0.2)
        grown = memory_bytes(os.getpid()) - before
    finally:
        gc.enable()

    assert grown < 40 * MIB


async def test_the_ops_port_is_guarded_too(stack: Stack, connect: Any) -> None:
    """Silent connections to the port for operations keep no probe out."""
    for _ in range(300):
        await connect(stack.ops_url + "/")

    async with stack.http.get(f"{stack.ops_url}/livez") as response:
        assert response.status == 200
