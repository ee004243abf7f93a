"""What the Python client costs the process that uses it: an answer that it has kept, and a request of a framework.

`python -m bench.client_cost ADDRESS ROUNDS TIMES` prints rounds as JSON.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec

from bench import ids
from bench.results import CLIENT, Round
from clerksync import SyncClient
from clerksync.middleware.asgi import EnsureProfileMiddleware, Message, Scope

NOTHING, HIT, WITHOUT, WITH = "await of nothing", "hit", "request, no middleware", "request, ASGI middleware"
_USER, _ORG = ids.pair(0)


async def _nothing() -> None:
    pass


def _request(client: SyncClient, *, ensure: bool) -> Callable[[], Awaitable[None]]:
    """A request through the middleware, or through nothing."""

    async def app(scope: Scope, receive: object, send: object) -> None:
        pass

    async def never() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    claims = {"sub": _USER, "o": {"id": _ORG}, "iat": time.time()}
    called = EnsureProfileMiddleware(app, client=client) if ensure else app

    async def serve() -> None:
        headers = [(b"host", b"service"), (b"x-request-id", b"request-1"), (b"accept", b"*/*")]
        await called({"type": "http", "headers": headers, "state": {"clerk_auth": claims}}, never, send)

    return serve


async def _timed(times: int, work: Callable[[], Awaitable[object]]) -> Round:
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(times):
        await work()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return Round(
        per_second=times / seconds,
        p50_us=0,
        p99_us=0,
        calls=times,
        failures=0,
        cpu_us={CLIENT: cpu_s * 1e6 / times},
    )


async def measure(address: str, rounds: int, times: int) -> dict[str, list[Round]]:
    """In turns, as everything."""
    async with SyncClient(address) as client:
        await client.ready()
        await client.ensure_user_profile(_USER, _ORG)
        works: dict[str, Callable[[], Awaitable[object]]] = {
            NOTHING: _nothing,
            HIT: lambda: client.ensure_user_profile(_USER, _ORG),
            WITHOUT: _request(client, ensure=False),
            WITH: _request(client, ensure=True),
        }
        measured: dict[str, list[Round]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                measured[name].append(await _timed(times, work))
        assert client.stats.hits >= 2 * rounds * times, "the answers were not kept"
    return measured


if __name__ == "__main__":
    figures = asyncio.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(figures))
