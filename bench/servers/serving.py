"""How these servers run: on the event loop of the real ones, until they are ended."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import grpc.aio
from aiohttp import web

from clerksync_server.event_loop import run

_kept: list[grpc.aio.Server] = []
"""A server of grpc.aio ends with the last reference to it."""


def serve(start: Callable[[], Awaitable[int]]) -> None:
    """`start` returns the port, which goes to standard output for whoever started the process."""

    async def forever() -> None:
        sys.stdout.write(f"{await start()}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    run(forever())


async def start_grpc(server: grpc.aio.Server) -> int:
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _kept.append(server)
    return port


async def start_http(app: web.Application) -> int:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


def bare_grpc_server(transport: str) -> grpc.aio.Server:
    """Without interceptors and options."""
    if transport == "native":
        import pygrpc_native.aio  # noqa: PLC0415  (the extra may not be installed)

        return pygrpc_native.aio.Server()
    return grpc.aio.server()
