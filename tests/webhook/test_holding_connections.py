"""Ways to hold a connection that cost the peer next to nothing: each has an end, and makes room before that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from webhook.peers import HEAD, MIB, Peer

from clerksync_server import http_connections
from clerksync_server.app import HttpProcess
from clerksync_server.http_expect import add_route, refuse_the_rest
from clerksync_server.settings.types import Address
from clerksync_server.webhook_front import reading

WHOLE = HEAD + b"Content-Length: 0\r\n\r\n"
BODY_TO_COME = HEAD + b"Content-Length: 10\r\n\r\n"
HOLDING = {
    "empty lines": (b"\r\n\r\n",),
    "empty lines without a carriage return": (b"\n\n\n\n",),
    "empty lines one byte at a time": (b"\r", b"\n", b"\r", b"\n"),
    "headers after empty lines": (b"\r\n\r\n" + HEAD,),
    "headers that do not end": (HEAD,),
    "a body that does not come": (BODY_TO_COME,),
    "a body that drips": (BODY_TO_COME, b"1", b"2", b"3"),
    "chunks without end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "trailers without end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
    "a body that has to be asked for": (HEAD + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",),
    "an expectation that is none": (HEAD + b"Expect: nothing\r\nContent-Length: 10\r\n\r\n",),
    "a body that is too large": (HEAD + b"Content-Length: 9999999\r\n\r\n",),
    "a body and the next headers": (WHOLE + HEAD,),
    "the next headers during a body": (BODY_TO_COME, b"0123456789" + HEAD),
    "empty lines after a request": (WHOLE, b"\r\n\r\n"),
    "no request": (b"no request\r\n\r\n",),
    "lines without a carriage return": (HEAD.replace(b"\r", b"") + b"\n",),
    "an upgrade": (HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", b"\x00"),
    "a tunnel": (b"CONNECT front:80 HTTP/1.1\r\nHost: front\r\n\r\n", b"\x00"),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All times are a second at most."""
    monkeypatch.setattr(http_connections.ConnectionGuard.__init__, "__kwdefaults__", {"headers_s": 0.5, "idle_s": 1.0})
    monkeypatch.setattr(http_connections, "_BODY_S", 1.0)
    monkeypatch.setattr(reading, "READ_TIMEOUT_S", 0.5)


@pytest.fixture
async def answering() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The URL of a server for 5 connections, and what its answers wait for."""
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with serving(answer) as url:
        yield url, release
        release.set()


@contextlib.asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    add_route(app, "POST", "/webhooks/clerk", answer)
    refuse_the_rest(app)
    process = HttpProcess(app, Address("127.0.0.1", 0), most_connections=5)
    yield f"http://{await process.start()}/"
    await process.stop()


@pytest.mark.usefixtures("impatient")
async def test_each_has_an_end(start_stack: Any, connect: Any) -> None:
    """Whatever a connection begins with, it is ended if nothing follows that can be answered."""
    stack = await start_stack()
    held = {name: await hold(connect, stack.webhook_url, pieces) for name, pieces in HOLDING.items()}

    ended = await asyncio.gather(*(peer.is_ended(6) for peer in held.values()))

    assert [name for name, over in zip(held, ended, strict=True) if not over] == []


async def test_each_makes_room(start_stack: Any, connect: Any) -> None:
    """Where as many connections as are allowed are held, each makes room for one that asks something."""
    stack = await start_stack(CLERKSYNC_HTTP_MAX_CONNECTIONS=str(len(HOLDING)))
    held = {name: await hold(connect, stack.webhook_url, pieces) for name, pieces in HOLDING.items()}
    # The end of an answer may be on its way for a second.
    await asyncio.sleep(1.2)

    for _ in HOLDING:
        asking = await connect(stack.webhook_url)
        await asking.send(WHOLE)
        assert await asking.status() == 400
    assert [name for name, peer in held.items() if not await peer.is_ended(0.1)] == []


async def hold(connect: Any, url: str, pieces: tuple[bytes, ...]) -> Peer:
    peer: Peer = await connect(url)
    for piece in pieces:
        await peer.send(piece)
        await asyncio.sleep(0.01)
    return peer


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "then", [b"", WHOLE, HEAD + b"x: " + b"y" * 40_000, WHOLE * 100_000], ids=["", "one more", "headers", "many more"]
)
async def test_answers_that_nobody_reads(connect: Any, then: bytes) -> None:
    """Whoever does not read an answer is cut off, whatever it goes on to ask for."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bytes(16 * MIB))

    async with serving(answer) as url:
        peer = await connect(url)
        peer.writer.write(WHOLE)
        await asyncio.sleep(0.3)
        peer.writer.write(then)

        assert await peer.is_cut_off(6)


async def test_all_connections_are_being_answered(answering: tuple[str, asyncio.Event], connect: Any) -> None:
    """Where as many whole requests as may be connected are being answered the next connection is told 503 at once."""
    url, release = answering
    busy = [await hold(connect, url, pieces) for pieces in [(WHOLE,)] * 3 + [(BODY_TO_COME, b"0123456789")] * 2]
    await asyncio.sleep(0.1)

    assert [await (await connect(url)).status() for _ in range(3)] == [503] * 3
    release.set()
    assert [await peer.status() for peer in busy] == [200] * 5


async def test_connections_lost_while_being_answered(answering: tuple[str, asyncio.Event], connect: Any) -> None:
    """What is answered to a connection that is gone makes no room for more than are allowed."""
    url, release = answering
    for _ in range(20):
        peer = await connect(url)
        await peer.send(WHOLE)
        await asyncio.sleep(0.02)
        peer.writer.transport.abort()
    release.set()
    # The end of an answer may be on its way for a second.
    await asyncio.sleep(1.2)

    silent = [await connect(url) for _ in range(40)]

    assert [await peer.is_ended(0.1) for peer in silent] == [True] * 35 + [False] * 5


async def test_much_that_is_sent_ahead(answering: tuple[str, asyncio.Event], connect: Any) -> None:
    """Whoever sends more than 1 MiB of further requests while one is answered is cut off."""
    url, _ = answering
    peer, ahead = await connect(url), await connect(url)
    await peer.send(WHOLE)
    await ahead.send(WHOLE)
    await asyncio.sleep(0.1)
    fields = b"".join(b"x-%d: " % number + b"y" * 8000 + b"\r\n" for number in range(100))
    for _ in range(2):
        await ahead.send(HEAD + fields + b"Content-Length: 0\r\n\r\n")

    assert await ahead.is_ended(2)
    assert not await peer.is_ended(0.1)
