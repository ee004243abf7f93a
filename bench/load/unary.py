"""Ensure calls over HTTP/2, by connections that keep their streams busy."""

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Iterator

from google.protobuf.timestamp_pb2 import Timestamp

from bench import ids
from bench.load.clock import Clock
from bench.load.http2 import Calls, Connection, Request, request
from bench.load.jobs import Load, Pairs, UnaryJob
from clerksync.v1 import sync_service_pb2

_SERVICE = "/clerksync.v1.SyncService/"
_NEW_EACH_SECOND = 25_000
"""No server that is measured makes as many in a second."""


def pairs_of(pairs: Pairs, new: int) -> Iterator[tuple[str, str]]:
    """Those that a job asks for: endless for pairs that there are, `new` ones otherwise."""
    if pairs.new:
        run = secrets.token_hex(4)
        return ((f"user_2new{run}{n:013d}", f"org_2new{run}{n:013d}") for n in range(new))
    chosen = random.Random(secrets.randbits(32)).choices(range(pairs.among), k=pairs.choices)
    return itertools.cycle([ids.pair(number) for number in chosen])


def messages_of(job: UnaryJob) -> list[bytes]:
    """The requests of a job, serialized."""
    issued_at = Timestamp(seconds=int(time.time()))
    new = job.calls or int((job.warm_up_s + job.seconds) * _NEW_EACH_SECOND)
    pairs = pairs_of(job.pairs, new * job.batch)

    def ensure(pair: tuple[str, str]) -> sync_service_pb2.EnsureUserProfileRequest:
        return sync_service_pb2.EnsureUserProfileRequest(
            clerk_user_id=pair[0], clerk_org_id=pair[1], token_issued_at=issued_at
        )

    if job.batch == 1:
        singles = itertools.islice(pairs, new if job.pairs.new else job.pairs.choices)
        return [ensure(pair).SerializeToString() for pair in singles]
    return [
        sync_service_pb2.BatchEnsureUserProfilesRequest(
            requests=[ensure(pair) for pair in itertools.islice(pairs, job.batch)]
        ).SerializeToString()
        for _ in range(max(8, job.pairs.choices // job.batch))
    ]


async def run_unary(job: UnaryJob) -> Load:
    method = "EnsureUserProfile" if job.batch == 1 else "BatchEnsureUserProfiles"
    encoded = [request(_SERVICE + method, job.address, message) for message in messages_of(job)]
    requests = iter(encoded) if job.pairs.new else itertools.cycle(encoded)
    clock = Clock(job)
    connecting: set[asyncio.Task[None]] = set()
    connections: list[Connection] = []
    samples: list[bytes] = []

    def next_call() -> tuple[Request, int] | None:
        if not clock.running:
            return None
        following = next(requests, None)
        if following is None:
            clock.run_out()
            return None
        return following, clock.sent()

    async def connect() -> None:
        host, _, port = job.address.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(calls, job.streams), host, int(port)
        )
        connections.append(connection)

    def connect_anew() -> None:
        if clock.running:
            task = asyncio.create_task(connect())
            connecting.add(task)
            task.add_done_callback(connecting.discard)

    calls = Calls(
        next_call=next_call,
        answered=clock.answered,
        failed=clock.failed,
        closing=connect_anew,
        sample=samples.append,
    )
    for _ in range(job.connections):
        await connect()
    load = await clock.run()
    for connection in connections:
        connection.close()
    if problem := _problem(job, samples):
        load.failures += 1
        load.first_failure = load.first_failure or problem
    return load


def _problem(job: UnaryJob, samples: list[bytes]) -> str | None:
    """What is wrong with the answers, as far as samples tell."""
    for sample in samples:
        if job.batch == 1:
            outcomes = [sync_service_pb2.EnsureUserProfileResponse.FromString(sample).outcome]
        else:
            results = sync_service_pb2.BatchEnsureUserProfilesResponse.FromString(sample).results
            if len(results) != job.batch or any(result.WhichOneof("result") != "response" for result in results):
                return "a batch was not answered as a whole"
            outcomes = [result.response.outcome for result in results]
        expected = {
            "existed": {sync_service_pb2.ENSURE_OUTCOME_EXISTED},
            "created": {sync_service_pb2.ENSURE_OUTCOME_CREATED},
            "any": {sync_service_pb2.ENSURE_OUTCOME_EXISTED, sync_service_pb2.ENSURE_OUTCOME_CREATED},
        }[job.expect]
        if not expected.issuperset(outcomes):
            return f"an answer did not tell {job.expect}"
    return None
