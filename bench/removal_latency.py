"""Measures how long it takes until the last of 100 watchers has heard of a removal, from its commit on.

`python bench/removal_latency.py [REMOVALS]` starts a Postgres, two SyncServices, and the watchers in a process
of their own, half of them at each replica, and prints a small table. The commit is taken to be when ApplyClerkEvent has
answered, so the figures leave out the way of that answer; less than nothing means that watchers heard before it came.
"""

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import grpc.aio
from bodies import membership
from crash.site import Site
from google.protobuf.timestamp_pb2 import Timestamp
from stack import new_svix_id, now_ms

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

WATCHERS = 100
REMOVALS = 200
"""By default."""
_PAUSE_S = 0.02
_MARKS = ("first of them", "half of them", "last of them")


async def _watch(address: str, ready: Any, heard: dict[str, list[int]], removals: int) -> None:
    """One watcher, by a connection of its own, until it has heard of every removal."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub: Any = sync_service_pb2_grpc.SyncServiceStub(channel)
        left, told_ready = removals, False
        async for response in stub.WatchRemovals(sync_service_pb2.WatchRemovalsRequest()):
            at_ns = time.monotonic_ns()
            if not told_ready:
                told_ready = True
                ready.release()
            for gone in response.removals:
                heard.setdefault(gone.clerk_user_id, []).append(at_ns)
                left -= 1
            if left == 0:
                return


def _watchers(addresses: list[str], ready: Any, results: Any, removals: int) -> None:
    """The process of the watchers."""

    async def watch() -> dict[str, list[int]]:
        heard: dict[str, list[int]] = {}
        async with asyncio.timeout(300):
            await asyncio.gather(
                *(_watch(addresses[number % len(addresses)], ready, heard, removals) for number in range(WATCHERS))
            )
        return heard

    results.put(asyncio.run(watch()))


async def _apply(stub: Any, verb: str, user: str) -> int:
    """Returns when the answer came, by the clock that all processes of a machine share."""
    body = membership(verb, user, "org_1", at=now_ms(), joined_at=1)
    attempted_at = Timestamp()
    attempted_at.GetCurrentTime()
    await stub.ApplyClerkEvent(
        sync_service_pb2.ApplyClerkEventRequest(
            svix_id=new_svix_id(), attempted_at=attempted_at, body=json.dumps(body).encode()
        )
    )
    return time.monotonic_ns()


async def _remove(addresses: list[str], ready: Any, users: list[str]) -> dict[str, int]:
    """Removes one by one, at both replicas in turn; when each was answered."""
    async with grpc.aio.insecure_channel(addresses[0]) as one, grpc.aio.insecure_channel(addresses[1]) as other:
        stubs: list[Any] = [sync_service_pb2_grpc.SyncServiceStub(channel) for channel in (one, other)]
        for user in users:
            await _apply(stubs[0], "created", user)
        for _ in range(WATCHERS):
            await asyncio.to_thread(ready.acquire)
        answered = {}
        for number, user in enumerate(users):
            answered[user] = await _apply(stubs[number % 2], "deleted", user)
            await asyncio.sleep(_PAUSE_S)
    return answered


def _table(answered: dict[str, int], heard: dict[str, list[int]]) -> str:
    lines = [
        f"{len(answered)} removals, {WATCHERS} watchers at 2 replicas; ms from the answer of ApplyClerkEvent to the"
    ]
    lines.append(f"{'':16}{'p50':>8}{'p99':>8}{'max':>8}")
    for index, mark in zip((0, WATCHERS // 2, WATCHERS - 1), _MARKS, strict=True):
        took = sorted((sorted(heard[user])[index] - at_ns) / 1e6 for user, at_ns in answered.items())
        figures = took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.99))], took[-1]
        lines.append(f"{mark:16}" + "".join(f"{figure:8.1f}" for figure in figures))
    return "\n".join(lines)


async def measure(folder: Path, removals: int) -> str:
    spawn = multiprocessing.get_context("spawn")
    ready, results = spawn.Semaphore(0), spawn.Queue()
    users = [f"user_{number}" for number in range(removals)]
    with EmbeddedPostgres(folder / "postgres") as postgres:
        await migrate(postgres.dsn)
        async with Site(postgres.dsn, fronts=0) as site:
            addresses = [(await service.running.listening())["grpc"] for service in site.services]
            watchers = spawn.Process(target=_watchers, args=(addresses, ready, results, removals), daemon=True)
            watchers.start()
            answered = await _remove(addresses, ready, users)
            heard = await asyncio.to_thread(results.get, timeout=60)
            watchers.join()
    return _table(answered, heard)


def main(removals: int) -> None:
    with tempfile.TemporaryDirectory(prefix="clerksync-bench-") as folder:
        Path(folder).chmod(0o755)  # Started by root, Postgres runs as another user, who has to get here.
        sys.stdout.write(f"{asyncio.run(measure(Path(folder), removals))}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else REMOVALS)
