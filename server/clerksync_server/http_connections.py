"""Bounds what connections to our HTTP servers may cost before there is a request to answer.

aiohttp bounds lines, fields, bodies and what is pipelined; it does not bound how many connect, how long they take for
their headers, and how many bytes these have in all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import cast

from aiohttp import web

HEADERS_S = 10.0
"""From the first byte of a request, or from connecting, to the last byte of its headers."""
IDLE_S = 75.0
"""Between two requests: longer than the 60 s after which balancers usually close."""
_ENDING_S = 15.0
_MOST_HEADER_BYTES = 32 * 1024
_SPARED_S = 1.0
"""The last bytes of an answer may still be on their way."""
_LOOK_EVERY_S = 0.5
_END_OF_HEADERS = b"\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Phase(Enum):
    HEADERS = auto()
    ANSWERING = auto()
    IDLE = auto()
    ENDING = auto()
    """Answered before the body had come; aiohttp reads on for 10 s, so that the answer is read, and closes it then."""


class _Connection(asyncio.Protocol):
    """Passes all events on to the protocol of aiohttp, and notes how far the request has come."""

    def __init__(self, guard: "ConnectionGuard", inner: asyncio.Protocol) -> None:
        self.phase = _Phase.HEADERS
        self.since = 0.0
        self._guard = guard
        self._inner: asyncio.Protocol | None = inner
        self._transport: asyncio.Transport | None = None
        self._header_bytes = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self._inner is not None
        # Those of uvloop are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if self._guard.admit(self, transport):
            self._inner.connection_made(transport)
        else:
            self._inner = None
            self._end(_TOO_MANY)

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            return
        if self.phase in (_Phase.HEADERS, _Phase.IDLE) and not self._read_headers(data):
            return
        self._inner.data_received(data)

    def _read_headers(self, data: bytes) -> bool:
        """False if they are too large, and the connection has been ended."""
        if self.phase is _Phase.IDLE:
            self._guard.note(self, _Phase.HEADERS)
        # Their end may come in pieces.
        window = self._tail + data
        self._tail = window[-3:]
        end = window.find(_END_OF_HEADERS)
        self._header_bytes += len(data) if end < 0 else end
        if self._header_bytes > _MOST_HEADER_BYTES:
            self._end(_TOO_LARGE)
            return False
        if end >= 0:
            self._guard.note(self, _Phase.ANSWERING)
        return True

    def restart(self) -> None:
        """The next bytes are headers."""
        self._header_bytes, self._tail = 0, b""

    def _end(self, answer: bytes) -> None:
        inner, self._inner = self._inner, None
        assert self._transport is not None
        self._transport.write(answer)
        self._transport.close()
        self._guard.forget(self, self._transport)
        if inner is not None:
            inner.connection_lost(None)

    def abort(self) -> None:
        assert self._transport is not None
        self._transport.abort()
        self._guard.forget(self, self._transport)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._guard.forget(self, self._transport)
        if self._inner is not None:
            self._inner.connection_lost(exc)


class ConnectionGuard:
    """Lets at most so many connections be open, and ends those that take too long for their headers or are idle.

    Where there are too many, the one that has waited longest without a request makes room for the next: whoever sends
    a request at once is served, however many hold connections open. While all are being answered the next one is
    turned away with 503.
    """

    def __init__(self, most: int, *, headers_s: float = HEADERS_S, idle_s: float = IDLE_S) -> None:
        self._most = most
        self._limits_s = {_Phase.HEADERS: headers_s, _Phase.IDLE: idle_s, _Phase.ENDING: _ENDING_S}
        self._open: dict[asyncio.BaseTransport, _Connection] = {}
        self._waiting: dict[_Connection, None] = {}
        """Those that are not being answered, the one that has waited longest first."""

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
        if connection.phase is not _Phase.ANSWERING:
            # Its headers had come while another request was answered.
            self.note(connection, _Phase.ANSWERING)
        phase = _Phase.ENDING
        try:
            response = await handler(request)
            phase = _close_if_unread(request, response)
        except web.HTTPException as refusal:
            phase = _close_if_unread(request, refusal)
            raise
        finally:
            connection.restart()
            self.note(connection, phase)
        return response

    async def run(self) -> None:
        """Ends what takes too long, until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = asyncio.get_running_loop().time()
            for connection in list(self._waiting):
                if now - connection.since > self._limits_s[connection.phase]:
                    connection.abort()

    def admit(self, connection: _Connection, transport: asyncio.BaseTransport) -> bool:
        """Whether there is room, or whether it could be made."""
        if len(self._open) >= self._most:
            now = asyncio.get_running_loop().time()
            longest = next(
                (each for each in self._waiting if each.phase is _Phase.HEADERS or _is_over(each, now)), None
            )
            if longest is None:
                return False
            longest.abort()
        self._open[transport] = connection
        self.note(connection, _Phase.HEADERS)
        return True

    def note(self, connection: _Connection, phase: _Phase) -> None:
        """How far it has come."""
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
    """As web.TCPSite, with a guard in front."""

    def __init__(self, runner: web.AppRunner, guard: ConnectionGuard, host: str, port: int) -> None:
        super().__init__(runner)
        self._guard = guard
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
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._guard.protecting(server), self._host, self._port, backlog=128)


def _is_over(connection: _Connection, now: float) -> bool:
    return now - connection.since > _SPARED_S


def _close_if_unread(request: web.Request, response: web.StreamResponse) -> _Phase:
    """What comes next on the connection."""
    if request.content.is_eof():
        return _Phase.IDLE
    response.force_close()
    return _Phase.ENDING
