"""Bounds what connections to our HTTP servers may cost while their peers have nothing answered.

aiohttp bounds lines, fields, bodies and how many requests are pipelined; it does not bound how many connect, how long
they take for their headers, and how many bytes these have in all.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum, auto
from typing import Any, cast

from aiohttp import StreamReader, web

from clerksync_server.http_answers import handlers

HEADERS_S = 10.0
"""From the first byte of a request, or from connecting, to the last byte of its headers."""
IDLE_S = 75.0
"""Between two requests: longer than the 60 s after which balancers usually close."""
_BODY_S = 15.0
"""For the rest of a body, read or thrown away: the front and aiohttp themselves end that after 10 s."""
_MOST_HEADER_BYTES = 32 * 1024
_MOST_AHEAD_BYTES = 1024 * 1024
"""What may come after the headers of a request, and its body, before the next one begins to be answered: the headers
of 32 requests, which is what aiohttp takes, could have 32 MiB."""
_SPARED_S = 1.0
"""The last bytes of an answer may still be on their way."""
_LOOK_EVERY_S = 0.5
_KERNEL_BYTES = 64 * 1024
"""What the kernel keeps of a connection until it is read, and so the most that comes at once: all connections may have
something to be read in the same moment, which is read before any of it is judged. Linux takes twice as much, for what
it needs itself."""
_NEWLINES = b"\r\n"
_END_OF_HEADERS = b"\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Phase(Enum):
    HEADERS = auto()
    BODY = auto()
    """The application has the request, whose body had not come by then."""
    ANSWERING = auto()
    """The application has all of the request: only now are we the ones who are waited for."""
    IDLE = auto()
    ENDING = auto()
    """Answered before the body had come; aiohttp reads on for 10 s, so that the answer is read, and closes it then."""


_UNASKED = (_Phase.HEADERS, _Phase.BODY)
"""Nothing whole has been asked, so nothing is lost with the connection."""


class _Connection(asyncio.Protocol):
    """Passes all events on to the protocol of aiohttp, and notes how far the request has come."""

    def __init__(self, guard: "ConnectionGuard", inner: asyncio.Protocol) -> None:
        self.phase = _Phase.HEADERS
        self.since = 0.0
        self.transport: asyncio.Transport | None = None
        self._guard = guard
        self._inner: asyncio.Protocol | None = inner
        self._header_bytes = 0
        self._tail = b""
        self._headers_came = False
        self._ahead_bytes = 0
        self._body: StreamReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self._inner is not None
        # Those of uvloop are of no class of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        if self._guard.admit(self, transport):
            self._inner.connection_made(transport)
        else:
            # The peer reads it, or not: it fits into the kernel's buffer, so nothing is left open.
            self._inner = None
            self.transport.write(_TOO_MANY)
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            return
        if self._body is None or self._body.is_eof():
            if self._headers_came:
                self._ahead_bytes += len(data.lstrip(_NEWLINES))
                if self._ahead_bytes > _MOST_AHEAD_BYTES:
                    self.abort()
                    return
            elif not self._read_headers(data):
                return
        self._inner.data_received(data)

    def _read_headers(self, data: bytes) -> bool:
        """False if they are too large, and the connection has been ended."""
        if not self._header_bytes:
            # Empty lines before a request are no part of it: the parser skips them.
            data = data.lstrip(_NEWLINES)
            if not data:
                return True
        if self.phase is _Phase.IDLE:
            self._guard.note(self, _Phase.HEADERS)
        # Their end may come in pieces.
        window = self._tail + data
        self._tail = window[-3:]
        end = window.find(_END_OF_HEADERS)
        self._header_bytes += len(data) if end < 0 else end
        if self._header_bytes > _MOST_HEADER_BYTES:
            self._refuse_headers()
            return False
        # Whether they are those of a request, the parser says: until the application has it nothing else changes.
        self._headers_came = end >= 0
        return True

    def begin(self, body: StreamReader) -> _Phase:
        """The application has a request: the next bytes are its body, and then those of requests sent ahead."""
        self._headers_came, self._ahead_bytes, self._body = True, 0, body
        return self.phase_of_body()

    def phase_of_body(self) -> _Phase:
        """While the application has the request."""
        assert self._body is not None
        return _Phase.ANSWERING if self._body.is_eof() else _Phase.BODY

    def finish(self) -> _Phase:
        """The application has answered: the next bytes are headers. What the connection waits for, if it goes on."""
        if self._ahead_bytes:
            return _Phase.HEADERS
        self._headers_came, self._header_bytes, self._tail = False, 0, b""
        return _Phase.IDLE

    def _refuse_headers(self) -> None:
        inner, self._inner = self._inner, None
        assert self.transport is not None
        assert inner is not None
        # It counts until it is closed, for which earlier answers have to be read.
        self._guard.note(self, _Phase.ENDING)
        self.transport.write(_TOO_LARGE)
        self.transport.close()
        inner.connection_lost(None)

    def abort(self) -> None:
        assert self.transport is not None
        self.transport.abort()
        self._guard.forget(self, self.transport)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.transport is not None
        self._guard.forget(self, self.transport)
        if self._inner is not None:
            self._inner.connection_lost(exc)


class ConnectionGuard:
    """Lets at most so many connections be open, and ends those that take too long for their headers or are idle.

    Where there are too many, the one that has waited longest without a request makes room for the next: whoever sends
    a whole request at once is served, however many hold connections open. While all are being answered the next one is
    turned away with 503.
    """

    def __init__(self, most: int, *, headers_s: float = HEADERS_S, idle_s: float = IDLE_S) -> None:
        self._most = most
        self._limits_s = {_Phase.HEADERS: headers_s, _Phase.IDLE: idle_s, _Phase.BODY: _BODY_S, _Phase.ENDING: _BODY_S}
        self._open: dict[asyncio.BaseTransport, _Connection] = {}
        self._waiting: dict[_Connection, None] = {}
        """Those that are not being answered, the one that has waited longest first; among them some whose body has come
        by now."""

    def protecting(self, inner: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """A factory of protocols for `loop.create_server`."""
        return lambda: _Connection(self, inner())

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Has to be the application's first: it tells when answering begins and ends."""
        connection = None if request.transport is None else self._open.get(request.transport)
        if connection is None:
            return await handler(request)
        self.note(connection, connection.begin(request.content))
        unread = True
        try:
            response = await handler(request)
            unread = _close_if_unread(request, response)
        except web.HTTPException as refusal:
            unread = _close_if_unread(request, refusal)
            raise
        finally:
            self.note(connection, _Phase.ENDING if unread else connection.finish())
        return response

    async def run(self) -> None:
        """Ends what takes too long, until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = asyncio.get_running_loop().time()
            for connection in self._waiting_longest_first():
                if now - connection.since > self._limits_s[connection.phase]:
                    connection.abort()

    def _waiting_longest_first(self) -> Iterator[_Connection]:
        for connection in list(self._waiting):
            if connection.phase is _Phase.BODY and connection.phase_of_body() is _Phase.ANSWERING:
                self.note(connection, _Phase.ANSWERING)
            else:
                yield connection

    def admit(self, connection: _Connection, transport: asyncio.BaseTransport) -> bool:
        """Whether there is room, or whether it could be made."""
        if len(self._open) >= self._most:
            now = asyncio.get_running_loop().time()
            longest = next(
                (each for each in self._waiting_longest_first() if each.phase in _UNASKED or _is_over(each, now)), None
            )
            if longest is None:
                return False
            longest.abort()
        self._open[transport] = connection
        self.note(connection, _Phase.HEADERS)
        return True

    def note(self, connection: _Connection, phase: _Phase) -> None:
        """How far it has come. Nothing, if it is over: its answer may outlive it."""
        if connection.transport not in self._open:
            return
        self._waiting.pop(connection, None)
        connection.phase = phase
        connection.since = asyncio.get_running_loop().time()
        if phase is not _Phase.ANSWERING:
            self._waiting[connection] = None

    def forget(self, connection: _Connection, transport: asyncio.BaseTransport) -> None:
        """It is over."""
        self._open.pop(transport, None)
        self._waiting.pop(connection, None)


class GuardedSite(web.BaseSite):
    """As web.TCPSite, with a guard in front, and with answers that hold nothing of the request."""

    def __init__(self, runner: web.AppRunner, guard: ConnectionGuard, host: str, port: int, **options: Any) -> None:
        """`options` are those of aiohttp's RequestHandler; those that the runner has got are not used."""
        super().__init__(runner)
        self._guard = guard
        self._options = options
        self._host = host
        self._port = port

    @property
    def name(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Raises OSError, or UnicodeError where the host is no name."""
        await super().start()
        server = self._runner.server
        assert server is not None
        factory = self._guard.protecting(handlers(server, **self._options))
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(factory, self._host, self._port, backlog=128, start_serving=False)
        for each in listening.sockets:
            # Its connections inherit it.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        await listening.start_serving()
        self._server = listening


def _is_over(connection: _Connection, now: float) -> bool:
    return now - connection.since > _SPARED_S


def _close_if_unread(request: web.Request, response: web.StreamResponse) -> bool:
    """Whether there is more of the request to come."""
    if request.content.is_eof():
        return False
    response.force_close()
    return True
