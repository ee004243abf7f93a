"""Streams of removals: slow readers, callers that go away, a replica that stops, and what the log says."""

import asyncio
from typing import Any

import grpc
import pytest
import structlog
from running import until
from stack import Stack, error_details, error_info
from structlog.testing import capture_logs
from watching import Connection, Watch, log

from clerksync.v1 import sync_service_pb2
from clerksync_server.database.removals import Removal
from clerksync_server.ops import metrics
from clerksync_server.sync import removals


async def test_a_slow_reader_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who falls behind too far is told to start anew, and then what comes after."""
    monkeypatch.setattr(removals, "_BACKLOG", 5)
    subscription = removals.Subscription()
    gone = removals.Update("0", "1", (Removal("user_1", "org_1"),))
    for _ in range(7):
        subscription.put(gone)
    subscription.put(removals.Update("1", "2"))
    subscription.put(removals.Update("2", "3"))

    told = [await subscription.get() for _ in range(3)]
    assert [("1", True), ("1", False), ("3", False)] == [(update.position, update.reset) for update in told]
    assert [(), gone.removals, ()] == [update.removals for update in told]


async def test_a_reader_that_does_not_read(
    stack: Stack, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that reads nothing for a while costs no memory, and is told to start anew when it reads on."""
    monkeypatch.setattr(removals, "_BACKLOG", 3)
    call = stack.sync.WatchRemovals(sync_service_pb2.WatchRemovalsRequest())
    assert (await call.read()).reset
    many = "insert into clerksync.removal (clerk_user_id) select repeat('u', 250) || n from generate_series(1, 3000) n"
    feed = stack.application._service._removals  # type: ignore[union-attr]
    (subscription,) = feed._subscriptions

    for _ in range(12):
        await connection.execute(many)
        await connection.execute("notify clerksync_removals")
        await asyncio.sleep(0.1)
    assert len(subscription._waiting) <= 3
    while not (await call.read()).reset:
        pass
    await log(connection, "user_after")
    while "user_after" not in {gone.clerk_user_id for gone in (await call.read()).removals}:
        pass
    call.cancel()


async def test_who_goes_away_is_forgotten(stack: Stack) -> None:
    """A hundred streams that were opened and cancelled leave nothing behind."""
    feed = stack.application._service._removals  # type: ignore[union-attr]
    calls = [stack.sync.WatchRemovals(sync_service_pb2.WatchRemovalsRequest()) for _ in range(100)]
    assert all(response.reset for response in await asyncio.gather(*(call.read() for call in calls)))
    assert (100, 100) == (len(feed._subscriptions), metrics.REMOVAL_WATCHERS._value.get())

    for call in calls:
        call.cancel()

    await until(lambda: not feed._subscriptions, 5)
    assert 0 == metrics.REMOVAL_WATCHERS._value.get()


async def test_stopping_does_not_wait(start_stack: Any) -> None:
    """A replica that stops sends its watchers to another one, and does not wait for them."""
    stack = await start_stack(CLERKSYNC_SHUTDOWN_GRACE="10")
    watches = [Watch(stack) for _ in range(100)]
    for watch in watches:
        await watch.__aenter__()
    for watch in watches:
        await watch.begun()

    started = asyncio.get_running_loop().time()
    await stack.application.stop()
    took_s = asyncio.get_running_loop().time() - started
    failures = [await watch.failure() for watch in watches]

    assert took_s < 2
    assert {(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")} == {
        (failure.code(), error_info(failure).reason) for failure in failures
    }
    assert all(len(error_details(failure)) == 2 for failure in failures)


async def test_one_line_a_stream(stack: Stack) -> None:
    """A stream has its request id in its trailers, one log line when it ends, and no part in the times of calls."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    metadata = {"x-request-id": "abc-1", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with Watch(stack, **metadata) as watch:
            await watch.begun()
            await stack.application.stop()
            failure = await watch.failure()

    assert dict(failure.trailing_metadata() or ())["x-request-id"] == "abc-1"
    expected = {"method": "WatchRemovals", "code": "UNAVAILABLE", "request_id": "abc-1", "trace_id": trace_id}
    assert [expected] == [{key: line[key] for key in expected} for line in lines if line["event"] == "call"]
    timed = {sample.labels.get("method") for family in metrics.CALLS.collect() for sample in family.samples}
    assert "WatchRemovals" not in timed


@pytest.mark.parametrize(
    "traceparent",
    ["", "garbage", f"ff-{'1' * 32}-{'2' * 16}-01", f"00-{'0' * 32}-{'2' * 16}-01", f"00-{'1' * 31}A-{'2' * 16}-01"],
)
async def test_an_ill_formed_trace(stack: Stack, traceparent: str) -> None:
    """A traceparent that is none harms nothing, and is not repeated in the log."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        request = sync_service_pb2.EnsureOrganizationRequest(clerk_org_id="org_1")
        await stack.sync.EnsureOrganization(request, metadata=(("traceparent", traceparent),))

    assert [False] == ["trace_id" in line for line in lines if line["event"] == "call"]
