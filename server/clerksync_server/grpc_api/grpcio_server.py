"""The server of grpcio, but that nobody can end it.

grpcio 1.85 decodes the path of a call that is for none of its registered methods in the loop that takes all calls: one
whose path is no UTF-8 ends that loop, and with it the server, for everybody and for good. Whoever reaches the port can
send such a path, before any token is looked at. All methods of ours are registered, so the others are refused here,
before the loop hears of them; that they are refused so, and that the server goes on, is held by a test.
"""

import asyncio
import contextlib
from typing import Any

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server as aio_server

_END = "Method not found!"
"""What grpcio says as well."""
_HEAR_S = 1.0


class _CallsOfOurs(cygrpc.AioServer):  # type: ignore[misc]
    """Takes up calls for registered methods only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: list[tuple[str, int]]) -> None:
        super().__init__(loop, None, (), (), options, None)
        self._running_loop = loop
        self._refusals: set[asyncio.Task[Any]] = set()

    async def _request_call(self) -> Any:
        """What grpcio takes up a call by that is for no registered method; it never gets one."""
        while True:
            call = await super()._request_call()
            refusal = self._running_loop.create_task(self._refuse(call))
            self._refusals.add(refusal)
            refusal.add_done_callback(self._forget)

    async def _refuse(self, call: Any) -> None:
        context = cygrpc._ServicerContext(call, None, None, self._running_loop)  # noqa: SLF001  (there is no other way)
        # Who is refused while sending is told that the stream is gone instead of why: so the first message is heard.
        hearing = self._running_loop.create_task(context.read())
        self._refusals.add(hearing)
        hearing.add_done_callback(self._forget)
        await asyncio.wait((hearing,), timeout=_HEAR_S)
        # Its end is an exception, also when all went well; the peer may be gone.
        with contextlib.suppress(Exception):
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, _END)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._refusals.discard(task)
        if not task.cancelled():
            task.exception()  # Of no interest, and said to be heard.


class GrpcioServer(aio_server.Server):
    """As grpc.aio.server makes it, with such calls."""

    def __init__(self, options: list[tuple[str, int]]) -> None:
        # Not that of the base: it would make a server of its own.
        self._loop = cygrpc.get_working_loop()
        self._server = _CallsOfOurs(self._loop, options)
