"""Measures what the Python client costs a service: a hit, a lone miss, and misses of many at once.

`python bench/client.py` starts a Postgres and a SyncService in a process of its own, and prints a small table.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from crash.site import Site

from clerksync import SyncClient
from clerksync.middleware.asgi import EnsureProfileMiddleware, Message, Scope
from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

_ORGANIZATION = "org_2o9RAVkGMEfjA4f90OznAdaR1dx"
_HITS, _LONE, _MANY, _CALLERS = 200_000, 500, 20_000, 256


def _user(number: int) -> str:
    return f"user_2NNEqL2nrIRdJ194ndJq{number:06d}"


async def _timed(times: int, work: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    """Seconds and CPU seconds of this process for each time."""
    started, cpu_started = time.perf_counter(), time.process_time()
    for number in range(times):
        await work(number)
    return (time.perf_counter() - started) / times, (time.process_time() - cpu_started) / times


async def _hit(client: SyncClient) -> float:
    await client.ensure_user_profile(_user(0), _ORGANIZATION)
    return (await _timed(_HITS, lambda _: client.ensure_user_profile(_user(0), _ORGANIZATION)))[1]


async def _request(client: SyncClient, *, ensure: bool) -> float:
    """A request through the ASGI middleware, or through nothing."""

    async def app(scope: Scope, receive: object, send: object) -> None:
        pass

    async def never() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    claims = {"sub": _user(0), "o": {"id": _ORGANIZATION}, "iat": time.time()}
    called = EnsureProfileMiddleware(app, client=client) if ensure else app

    async def serve(_: int) -> None:
        headers = [(b"host", b"service"), (b"x-request-id", b"request-1"), (b"accept", b"*/*")]
        await called({"type": "http", "headers": headers, "state": {"clerk_auth": claims}}, never, send)

    return (await _timed(_HITS // 4, serve))[1]


async def _lone_misses(target: str, first: int) -> tuple[float, float, float]:
    """Median and 99th percentile in seconds, and CPU seconds; profiles that exist, without a cache."""
    took = []
    async with SyncClient(target, cache_size=0) as client:

        async def ask(number: int) -> None:
            started = time.perf_counter()
            await client.ensure_user_profile(_user(first + number), _ORGANIZATION)
            took.append(time.perf_counter() - started)

        _, cpu_s = await _timed(_LONE, ask)
    took.sort()
    return took[len(took) // 2], took[int(len(took) * 0.99)], cpu_s


async def _many_misses(target: str) -> tuple[float, float]:
    """Answers a second, and CPU seconds of each, for callers who ask all the time for profiles that exist."""
    async with SyncClient(target, cache_size=0) as client:
        numbers = iter(range(_MANY))

        async def call() -> None:
            for number in numbers:
                await client.ensure_user_profile(_user(number % 5000), _ORGANIZATION)

        started, cpu_started = time.perf_counter(), time.process_time()
        await asyncio.gather(*(call() for _ in range(_CALLERS)))
        return _MANY / (time.perf_counter() - started), (time.process_time() - cpu_started) / _MANY


async def measure(folder: Path) -> str:
    with EmbeddedPostgres(folder / "postgres") as postgres:
        await migrate(postgres.dsn)
        async with Site(postgres.dsn, fronts=0) as site:
            target = (await site.services[0].running.listening())["grpc"]
            async with SyncClient(target) as client:
                await asyncio.gather(*(client.ensure_user_profile(_user(n), _ORGANIZATION) for n in range(5000)))
                hit_s = await _hit(client)
                request_s = await _request(client, ensure=True) - await _request(client, ensure=False)
            median_s, late_s, lone_cpu_s = await _lone_misses(target, 0)
            rate, many_cpu_s = await _many_misses(target)
    return "\n".join(
        (
            f"a hit                    {hit_s * 1e6:7.2f} µs of CPU",
            f"a hit, by the middleware {request_s * 1e6:7.2f} µs of CPU",
            (
                f"a lone miss              {lone_cpu_s * 1e6:7.0f} µs of CPU, "
                f"{median_s * 1e3:.2f} ms (p99 {late_s * 1e3:.2f})"
            ),
            f"a miss of {_CALLERS} at once   {many_cpu_s * 1e6:7.0f} µs of CPU, {rate:,.0f} a second",
        )
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="clerksync-bench-") as folder:
        Path(folder).chmod(0o755)  # Started by root, Postgres runs as another user, who has to get here.
        sys.stdout.write(f"{asyncio.run(measure(Path(folder)))}\n")


if __name__ == "__main__":
    main()
