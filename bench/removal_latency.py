"""Measures how long it takes until the last of 100 clients has dropped who was removed, from the commit on.

`python -m bench.removal_latency [REMOVALS]` starts a Postgres, two SyncServices, and the clients in a process of their
own, half of them at each replica and all with everybody in their caches, and prints a small table. The commit is taken
to be when ApplyClerkEvent has answered, so the figures leave out the way of that answer; less than nothing means that
clients heard before it came.
"""

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import grpc.aio
from bodies import membership
from crash.site import Site
from google.protobuf.timestamp_pb2 import Timestamp
from stack import new_svix_id, now_ms

from clerksync import SyncClient
from clerksync.cache import SILENCE_S, Cache, Key
from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

CLIENTS = 100
ORGANIZATION = "org_1"
REMOVALS = 200
"""By default."""
_PAUSE_S = 0.02
_MARKS = ("first dropped", "half dropped", "last dropped")


async def _keep(address: str, ready: Any, users: list[str], over: asyncio.Event) -> None:
    """One client, by a connection of its own, until the last of them has heard of every removal."""
    async with SyncClient(address) as client:
        while client.silent_for_s > SILENCE_S:  # noqa: ASYNC110  (the stream is what is waited for)
            await asyncio.sleep(0.01)
        await asyncio.gather(*(client.ensure_user_profile(user, ORGANIZATION) for user in users))
        assert len(users) == client.kept
        ready.release()
        await over.wait()


def _clients(addresses: list[str], ready: Any, results: Any, users: list[str]) -> None:
    """The process of the clients."""
    dropped: dict[str, list[int]] = {user: [] for user in users}
    drop = Cache.drop

    async def run() -> None:
        over = asyncio.Event()

        def timed_drop(cache: Cache, removed: Iterable[Key]) -> None:
            pairs = list(removed)
            drop(cache, pairs)
            at_ns = time.monotonic_ns()
            for user, _ in pairs:
                dropped[user].append(at_ns)
            if len(dropped[users[-1]]) == CLIENTS:
                over.set()

        Cache.drop = timed_drop  # type: ignore[method-assign, assignment]
        async with asyncio.timeout(300):
            addressed = (addresses[number % len(addresses)] for number in range(CLIENTS))
            await asyncio.gather(*(_keep(address, ready, users, over) for address in addressed))

    asyncio.run(run())
    results.put(dropped)


async def _apply(stub: Any, verb: str, user: str) -> int:
    """Returns when the answer came, by the clock that all processes of a machine share."""
    body = membership(verb, user, ORGANIZATION, at=now_ms(), joined_at=1)
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
        for _ in range(CLIENTS):
            await asyncio.to_thread(ready.acquire)
        answered = {}
        for number, user in enumerate(users):
            answered[user] = await _apply(stubs[number % 2], "deleted", user)
            await asyncio.sleep(_PAUSE_S)
    return answered


def _table(answered: dict[str, int], heard: dict[str, list[int]]) -> str:
    lines = [
        f"{len(answered)} removals, {CLIENTS} clients at 2 replicas; ms from ApplyClerkEvent's answer to the drop by"
    ]
    lines.append(f"{'':16}{'p50':>8}{'p99':>8}{'max':>8}")
    for index, mark in zip((0, CLIENTS // 2, CLIENTS - 1), _MARKS, strict=True):
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
            clients = spawn.Process(target=_clients, args=(addresses, ready, results, users), daemon=True)
            clients.start()
            answered = await _remove(addresses, ready, users)
            heard = await asyncio.to_thread(results.get, timeout=60)
            clients.join()
    return _table(answered, heard)


def main(removals: int) -> None:
    with tempfile.TemporaryDirectory(prefix="clerksync-bench-") as folder:
        Path(folder).chmod(0o755)  # Started by root, Postgres runs as another user, who has to get here.
        sys.stdout.write(f"{asyncio.run(measure(Path(folder), removals))}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else REMOVALS)
