"""Trouble on demand, and the fake's own life and death."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from client_testing.callers import CREATED, Caller, failure, profile_request
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clerksync.testing import FakeSyncService
from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc

ADA, ORG = "user_ada", "org_1"


def code_of(caller: Caller, *, timeout: float = 5) -> str:
    try:
        caller.ensure(ADA, ORG, timeout=timeout)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def failures(caller: Caller) -> list[tuple[str, str, list[str]]]:
    """What each of the Ensure methods fails with."""
    told = []
    calls: list[Callable[[], object]] = [
        lambda: caller.ensure(ADA, ORG),
        lambda: caller.batch(profile_request(ADA, ORG)),
        lambda: caller.organization(ORG),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        told.append(failure(caught.value))
    return told


def test_away(fake: FakeSyncService, caller: Caller) -> None:
    """As without Postgres: calls are UNAVAILABLE and streams are silent; then they tell what they left out."""
    fake.join(ADA, ORG)
    with caller.watching() as watch:
        watch.next()
        with fake.away(), caller.watching() as new:
            fake.wait_for_watchers(2)
            assert [("UNAVAILABLE", "DATABASE_UNAVAILABLE", [])] * 3 == failures(caller)
            fake.remove(ADA, ORG)
            time.sleep(0.2)
            assert (True, True) == (watch.is_silent, new.is_silent)
        assert {(ADA, ORG)} == watch.next_removals()[0]
    assert "FAILED_PRECONDITION" == code_of(caller)


def test_broken(fake: FakeSyncService, caller: Caller) -> None:
    """Calls and streams fail with INTERNAL, until the block ends."""
    with caller.watching() as watch:
        watch.next()
        with fake.broken(), caller.watching() as new:
            assert [("INTERNAL", "INTERNAL", [])] * 3 == failures(caller)
            assert [("INTERNAL", "INTERNAL", [])] * 2 == [failure(stream.next()) for stream in (watch, new)]
    assert "OK" == code_of(caller)


def test_slow(fake: FakeSyncService, caller: Caller) -> None:
    """Each call takes at least so long, many at once no longer than one; `back` answers those that wait."""
    fake.slow(0.3)
    started = time.monotonic()
    with ThreadPoolExecutor(20) as threads:
        codes = list(threads.map(lambda _: code_of(caller), range(20)))
    assert ["OK"] * 20 == codes
    assert 0.3 <= time.monotonic() - started < 2

    fake.slow(60)
    assert "DEADLINE_EXCEEDED" == code_of(caller, timeout=0.1)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(caller.ensure, ADA, ORG, timeout=30)
        while len(fake.calls) < 22:
            time.sleep(0.01)
        fake.back()
        answer.result(5)


def test_freeze(fake: FakeSyncService, caller: Caller) -> None:
    """A frozen service takes calls and answers none, streams included; then it answers those that still wait."""
    fake.join(ADA, ORG)
    with caller.watching() as watch, ThreadPoolExecutor(1) as threads:
        watch.next()
        with fake.freeze():
            assert "DEADLINE_EXCEEDED" == code_of(caller, timeout=0.1)
            waiting = threads.submit(caller.ensure, "user_new", ORG, timeout=30)
            while len(fake.calls) < 2:
                time.sleep(0.01)
            fake.remove(ADA, ORG)
            time.sleep(0.2)
            assert (True, False, None) == (watch.is_silent, waiting.done(), fake.profile("user_new", ORG))
        assert CREATED == waiting.result(5).outcome
        assert {(ADA, ORG)} == watch.next_removals()[0]


def test_frozen_calls_whose_caller_has_gone(fake: FakeSyncService, caller: Caller) -> None:
    """A call that is over before the thaw has no effect, as its caller was not answered."""
    with fake.freeze():
        assert "DEADLINE_EXCEEDED" == code_of(caller, timeout=0.1)
        time.sleep(0.2)

    assert fake.profile(ADA, ORG) is None


def test_trouble_inside_trouble(fake: FakeSyncService, caller: Caller) -> None:
    """The end of a block brings back what was before it; `back` inside of it ends everything."""
    with fake.away():
        with fake.broken():
            assert "INTERNAL" == code_of(caller)
        assert "UNAVAILABLE" == code_of(caller)
        fake.back()
        assert "OK" == code_of(caller)
    assert "OK" == code_of(caller)


def test_stop_and_start(fake: FakeSyncService) -> None:
    """While stopped, connections are refused and open calls have ended; it comes back on its port with its state."""
    fake.join(ADA, ORG)
    before, target = fake.profile(ADA, ORG), fake.target
    for _ in range(3):
        with grpc.insecure_channel(target) as channel:
            caller = Caller(channel)
            assert "OK" == code_of(caller)
            with caller.watching() as watch:
                watch.next()
                with fake.stopped():
                    assert grpc.StatusCode.UNAVAILABLE == watch.next().code()
                    with grpc.insecure_channel(target) as another:
                        assert "UNAVAILABLE" == code_of(Caller(another))
            with grpc.insecure_channel(fake.target) as another:
                assert "OK" == code_of(Caller(another))
    assert (target, before) == (fake.target, fake.profile(ADA, ORG))


def test_before_the_start() -> None:
    """What needs a running service says that it must be started; events may come before."""
    fake = FakeSyncService()
    fake.join(ADA, ORG)

    with pytest.raises(RuntimeError, match="has not been started"):
        _ = fake.target
    with pytest.raises(RuntimeError, match="is not running"):
        fake.stop()
    with fake:
        with pytest.raises(RuntimeError, match="is running already"):
            fake.start()
        assert fake.profile(ADA, ORG) is not None
        fake.stop()


async def test_asyncio(caplog: pytest.LogCaptureFixture) -> None:
    """Tests on an event loop use it as they are, and their loop logs nothing."""
    with caplog.at_level(logging.WARNING):
        async with FakeSyncService() as fake, grpc.aio.insecure_channel(fake.target) as channel:
            fake.join(ADA, ORG)
            sync: Any = sync_service_pb2_grpc.SyncServiceStub(channel)
            stream = sync.WatchRemovals(sync_service_pb2.WatchRemovalsRequest())
            assert (await stream.read()).reset

            profiles = await asyncio.gather(
                *(sync.EnsureUserProfile(profile_request(ADA, ORG), timeout=5) for _ in range(200))
            )
            fake.remove(ADA, ORG)
            removal = (await stream.read()).removals[0]
            stream.cancel()

    assert 1 == len({answer.user_profile.id for answer in profiles})
    assert (ADA, ORG) == (removal.clerk_user_id, removal.clerk_org_id)
    assert [] == caplog.messages


def test_health(fake: FakeSyncService, caller: Caller) -> None:
    """Clients that ask for its health, or watch it, hear that it serves, and lose the stream when it stops."""
    request = health_pb2.HealthCheckRequest(service="clerksync.v1.SyncService")
    stub = health_pb2_grpc.HealthStub(caller.channel)

    checked = stub.Check(request, timeout=5).status
    stream = stub.Watch(request)
    watched = next(stream).status
    fake.stop()

    serving = health_pb2.HealthCheckResponse.SERVING
    assert (serving, serving, []) == (checked, watched, list(stream))


def test_many_threads(fake: FakeSyncService, caller: Caller) -> None:
    """However calls and events meet, each pair is created once, and each removal is told."""
    users = [f"user_{number}" for number in range(40)]
    with caller.watching() as watch, ThreadPoolExecutor(16) as threads:
        watch.next()
        outcomes = list(threads.map(lambda number: caller.ensure(users[number % 40], ORG).outcome, range(400)))
        list(threads.map(lambda user: fake.remove(user, ORG), users))
        told: set[tuple[str, str]] = set()
        while len(told) < len(users):
            told |= watch.next_removals()[0]

    assert 40 == outcomes.count(CREATED)
    assert {(user, ORG) for user in users} == told


def test_nothing_is_left() -> None:
    """Closing with calls frozen and streams open ends them at once, and leaves no thread of ours."""
    before = set(threading.enumerate())
    with FakeSyncService() as fake, grpc.insecure_channel(fake.target) as channel, ThreadPoolExecutor(4) as threads:
        caller = Caller(channel)
        with caller.watching() as watch:
            watch.next()
            fake.freeze()
            frozen = [threads.submit(caller.ensure, ADA, ORG, timeout=30) for _ in range(4)]
            while len(fake.calls) < 4:
                time.sleep(0.01)
            started = time.monotonic()
            fake.stop()
            stopping_s = time.monotonic() - started
            assert [True] * 4 == [isinstance(call.exception(5), grpc.RpcError) for call in frozen]

    deadline = time.monotonic() + 5
    while left := {thread.name for thread in threading.enumerate() if thread not in before}:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
    assert stopping_s < 2


def test_needs_nothing_of_the_server() -> None:
    """Importing it loads of the server the rules alone, no pytest, and nothing that the client does not need."""
    code = "import sys, clerksync.testing; print(*sys.modules)"

    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )

    servers = {name for name in loaded if name.startswith("clerksync_server.")}
    assert all(name.startswith("clerksync_server.rules") for name in servers), servers
    others = {"pytest", "aiohttp", "asyncpg", "msgspec", "structlog", "svix", "sqlalchemy", "pydantic"}
    assert set() == others & loaded


def test_an_author_who_forgets_to_close_it() -> None:
    """A program that never closes the fake, with a stream open, ends all the same."""
    code = """
import grpc
from clerksync.testing import FakeSyncService
from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
fake = FakeSyncService()
fake.start()
channel = grpc.insecure_channel(fake.target)
stream = sync_service_pb2_grpc.SyncServiceStub(channel).WatchRemovals(sync_service_pb2.WatchRemovalsRequest())
print(next(iter(stream)).reset)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)

    assert (0, "True\n") == (ended.returncode, ended.stdout)
