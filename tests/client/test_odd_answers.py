"""What SyncService, a proxy or a caller may come up with, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

import clerksync
from clerksync import Identity, SyncClient, blocking
from clerksync.breaker import CircuitBreaker
from clerksync.errors import error_from_status
from clerksync.policy import Attempt, Guard, Policy
from clerksync.stats import ClientStats
from clerksync.testing import FakeSyncService
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc
from client.rows import Clock
from client.waiting import until


class Odd(sync_service_pb2_grpc.SyncServiceServicer):
    """A SyncService that answers oddly."""

    def __init__(self, unary: Callable[..., Any], batch: Callable[..., Any]) -> None:
        self._unary, self._batch = unary, batch

    async def EnsureUserProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._unary(request, context)

    async def BatchEnsureUserProfiles(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._batch(request, context)


@asynccontextmanager
async def odd(unary: Any = None, batch: Any = None) -> AsyncIterator[SyncClient]:
    server = grpc.aio.server()
    sync_service_pb2_grpc.add_SyncServiceServicer_to_server(Odd(unary, batch), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with SyncClient(f"127.0.0.1:{port}") as client:
        yield client
    await server.stop(None)


async def test_a_batch_that_comes_back_incomplete() -> None:
    """A batch with an answer missing fails as CallFailed, all of it: nobody knows whose is missing."""

    async def one_missing(request: Any, _: object) -> Any:
        results = [sync_service_pb2.EnsureUserProfileResult()] * (len(request.requests) - 1)
        return sync_service_pb2.BatchEnsureUserProfilesResponse(results=results)

    async with odd(batch=one_missing) as client:
        outcomes = await asyncio.gather(
            *(client.ensure_user_profile(f"user_{n}", "org_1") for n in range(3)), return_exceptions=True
        )
    assert [clerksync.CallFailed] * 3 == [type(outcome) for outcome in outcomes]


@pytest.mark.parametrize("nowhen", [Timestamp(seconds=10**12), Timestamp(nanos=-1), Timestamp(nanos=10**9)])
async def test_times_that_are_none(nowhen: Timestamp) -> None:
    """An answer with a time that is none fails as CallFailed, alone, whether it came by itself or in a batch."""

    def answer(request: Any) -> sync_service_pb2.EnsureUserProfileResponse:
        profile = resources_pb2.UserProfile(clerk_user_id=request.clerk_user_id, clerk_org_id="org_1")
        if request.clerk_user_id == "user_1":
            profile.update_time.CopyFrom(nowhen)
        return sync_service_pb2.EnsureUserProfileResponse(user_profile=profile)

    async def alone(request: Any, _: object) -> Any:
        return answer(request)

    async def together(request: Any, _: object) -> Any:
        results = [sync_service_pb2.EnsureUserProfileResult(response=answer(each)) for each in request.requests]
        return sync_service_pb2.BatchEnsureUserProfilesResponse(results=results)

    async with odd(unary=alone, batch=together) as client:
        with pytest.raises(clerksync.CallFailed, match="could not be read"):
            await client.ensure_user_profile("user_1", "org_1")
        outcomes = await asyncio.gather(
            *(client.ensure_user_profile(f"user_{n}", "org_1") for n in range(3)), return_exceptions=True
        )
    assert ["EnsuredUserProfile", "CallFailed", "EnsuredUserProfile"] == [type(each).__name__ for each in outcomes]


async def test_details_that_are_garbage() -> None:
    """Where the details of a status are garbage, the code of the call still tells what happened."""

    async def garbage(_: object, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "no", (("grpc-status-details-bin", b"\xff\xff"),))

    async with odd(unary=garbage) as client:
        with pytest.raises(clerksync.CallFailed):
            await client.ensure_user_profile("user_1", "org_1")


async def test_details_of_another_code() -> None:
    """Where a proxy has changed the code, the code of the call counts."""
    other = status_pb2.Status(code=5, message="other").SerializeToString()

    async def mixed(_: object, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "no", (("grpc-status-details-bin", other),))

    async with odd(unary=mixed) as client:
        with pytest.raises(clerksync.CallFailed, match="INTERNAL"):
            await client.ensure_user_profile("user_1", "org_1")


async def test_refusals_are_counted_by_their_reason(client: SyncClient, fake: FakeSyncService) -> None:
    """A refusal is counted by its reason, and is no failure."""
    fake.delete_user("user_1")
    with pytest.raises(clerksync.UserDeleted):
        await client.ensure_user_profile("user_1", "org_1")
    assert ({"USER_DELETED": 1}, {}) == (dict(client.stats.refusals), dict(client.stats.failures))


async def test_no_user_is_not_the_organization(client: SyncClient) -> None:
    """The answer about an organization, kept under an empty user, is nobody's profile."""
    await client.ensure_organization("org_1")
    assert client.kept_user_profile("", "org_1") is None
    with pytest.raises(clerksync.InvalidRequest):
        await client.ensure_user_profile("", "org_1")


async def test_a_call_that_hangs_ends(fake: FakeSyncService) -> None:
    """Nothing stays on its way for longer than a call may take, though nobody waits for it any more."""
    async with SyncClient(fake.target, timeout_s=0.3) as client:
        await client.ready()
        with fake.freeze():
            with pytest.raises(clerksync.DeadlineExceeded):
                await client.ensure_user_profile("user_1", "org_1", timeout_s=0.05)
            batcher = client._session()._profiles
            assert batcher._on_the_way
            await until(lambda: not batcher._on_the_way, within_s=2)


@pytest.mark.parametrize(
    "bad",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    ],
)
async def test_a_time_at_the_end_of_all_days_spoils_no_batch(client: SyncClient, bad: datetime) -> None:
    """A time that cannot be sent is refused by itself, and the others of its batch have their answers."""
    good, refused = await asyncio.gather(
        client.ensure_user_profile("user_1", "org_1"),
        client.ensure_user_profile("user_2", "org_1", bad),
        return_exceptions=True,
    )
    assert isinstance(good, clerksync.EnsuredUserProfile)
    assert isinstance(refused, clerksync.InvalidRequest)


async def test_a_defect_of_the_watch_does_not_end_the_client(client: SyncClient, fake: FakeSyncService) -> None:
    """Whatever happens to the stream of removals, asking goes on."""
    cache, times = client._session().cache, []
    heard = cache.heard

    def fails_once() -> None:
        times.append(1)
        if len(times) == 1:
            raise KeyError("defect")
        heard()

    cache.heard = fails_once  # type: ignore[method-assign]
    await until(lambda: len(times) > 2)
    await client.ensure_user_profile("user_1", "org_1")


def status(code: grpc.StatusCode, *, reason: str | None = None, domain: str = "clerksync") -> status_pb2.Status:
    made = status_pb2.Status(code=code.value[0], message="text")
    if reason is not None:
        packed = Packed()
        packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
        made.details.append(packed)
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (status(grpc.StatusCode.FAILED_PRECONDITION, reason="USER_DELETED"), clerksync.UserDeleted),
        (status(grpc.StatusCode.FAILED_PRECONDITION, reason="OF_TOMORROW"), clerksync.Refused),
        (status(grpc.StatusCode.FAILED_PRECONDITION, reason="USER_DELETED", domain="proxy"), clerksync.CallFailed),
        (status(grpc.StatusCode.FAILED_PRECONDITION), clerksync.CallFailed),
        (status(grpc.StatusCode.INVALID_ARGUMENT), clerksync.CallFailed),
        (status(grpc.StatusCode.UNAVAILABLE), clerksync.Unavailable),
        (status(grpc.StatusCode.RESOURCE_EXHAUSTED), clerksync.Unavailable),
        (status(grpc.StatusCode.ABORTED), clerksync.Unavailable),
        (status(grpc.StatusCode.CANCELLED), clerksync.Unavailable),
        (status(grpc.StatusCode.DEADLINE_EXCEEDED), clerksync.DeadlineExceeded),
        (status(grpc.StatusCode.PERMISSION_DENIED), clerksync.CallFailed),
    ],
)
def test_each_status_has_its_error(given: status_pb2.Status, expected: type[Exception]) -> None:
    """Only SyncService's own reasons make a refusal; a proxy's codes do not deny anybody."""
    error = error_from_status(given)
    assert expected is type(error)
    if isinstance(error, clerksync.Refused):
        assert error.label in {"USER_DELETED", "OTHER"}


@pytest.mark.parametrize("error", [clerksync.UserDeleted("gone", reason="USER_DELETED")])
def test_a_refusal_is_a_success_to_the_breaker(error: clerksync.Refused) -> None:
    """However many are refused, the others are asked for."""
    policy = Policy(ClientStats(), CircuitBreaker(now=Clock()), budget_s=0.05, on_removed="refuse", now=Clock())
    for _ in range(10):
        attempt = policy.begin(blocking.SyncClient("127.0.0.1:1"), Identity("user_1", "org_1"))
        assert isinstance(attempt, Attempt)
        with attempt:
            raise error

        assert attempt.decision.denied


async def test_cancellation_is_not_swallowed(client: SyncClient, fake: FakeSyncService) -> None:
    """A request that is cancelled while it waits is cancelled, and does not go on to its handler."""
    with fake.freeze():
        request = asyncio.create_task(Guard(client, budget_s=5).check(Identity("user_1", "org_1")))
        await until(lambda: len(fake.calls) == 1)
        request.cancel()
        await asyncio.wait([request])
    assert request.cancelled()
