"""The load generators, held against real servers: what they count is what happened."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from stack import WEBHOOK_SECRET, Stack

from bench.load.client import run_client
from bench.load.jobs import ClientJob, Pairs, UnaryJob, WebhookJob
from bench.load.unary import run_unary
from bench.load.webhooks import run_webhooks
from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.grpc_api.native import NativeServer


class _Servicer(sync_service_pb2_grpc.SyncServiceServicer):
    """Answers well, or refuses."""

    def __init__(self, *, refuses: bool) -> None:
        self._refuses = refuses
        self.calls = 0

    async def EnsureUserProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        if self._refuses:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return sync_service_pb2.EnsureUserProfileResponse(outcome=sync_service_pb2.ENSURE_OUTCOME_EXISTED)


@asynccontextmanager
async def served(
    *, transport: str = "grpcio", refuses: bool = False, options: Sequence[tuple[str, Any]] = ()
) -> AsyncIterator[tuple[str, _Servicer]]:
    server = NativeServer() if transport == "native" else grpc.aio.server(options=options)
    servicer: Any = _Servicer
    servicer = servicer(refuses=refuses)
    sync_service_pb2_grpc.add_SyncServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", servicer
    finally:
        await server.stop(0)


def unary(address: str, **changes: Any) -> UnaryJob:
    job: dict[str, Any] = {"connections": 2, "streams": 4, "pairs": Pairs(among=100, choices=50), "seconds": 30.0}
    return UnaryJob(address=address, **(job | changes))


async def test_new_pairs_are_made(stack: Stack) -> None:
    """Calls for new pairs are as many as were asked for, and each makes a profile in an organization of its own."""
    load = await run_unary(unary(stack.target, pairs=Pairs(new=True), calls=60, expect="created"))

    assert (60, 60, 0) == (load.calls, load.calls_in_all, load.failures)
    [row] = await stack.rows(
        "select count(*) as profiles, count(distinct clerk_org_id) as organizations from public.user_profile"
    )
    assert {"profiles": 60, "organizations": 60} == row
    assert 0 < load.p50_us <= load.p99_us


@pytest.mark.parametrize("transport", ["grpcio", "native"])
async def test_every_call_is_counted(transport: str) -> None:
    """What a generator counts is what the server was asked."""
    async with served(transport=transport) as (address, servicer):
        load = await run_unary(unary(address, calls=500, expect="existed"))

        assert (500, 0, servicer.calls) == (load.calls_in_all, load.failures, 500)


async def test_the_warm_up_is_not_counted() -> None:
    """The rate is of the counted time only."""
    async with served() as (address, servicer):
        load = await run_unary(unary(address, warm_up_s=0.3, seconds=0.3))

        assert servicer.calls == load.calls_in_all
        assert 0 < load.calls < load.calls_in_all
        assert 0.3 <= load.seconds < 1


@pytest.mark.parametrize("transport", ["grpcio", "native"])
async def test_errors_are_failures(transport: str) -> None:
    """A server that answers errors is told as failing, not as fast."""
    async with served(transport=transport, refuses=True) as (address, _):
        load = await run_unary(unary(address, calls=40))

        assert (0, 40, "an error instead of a message") == (load.calls, load.failures, load.first_failure)


async def test_unexpected_answers_are_failures() -> None:
    """A hit where a miss was to be measured is told."""
    async with served() as (address, _):
        load = await run_unary(unary(address, calls=10, expect="created"))

        assert (1, "an answer did not tell created") == (load.failures, load.first_failure)


async def test_unknown_methods_are_failures() -> None:
    """A server that lacks the method is told as failing."""
    async with served() as (address, _):
        load = await run_unary(unary(address, calls=8, batch=2))

        assert (0, 8) == (load.calls, load.failures)


async def test_large_batches_fit_through_the_windows(stack: Stack) -> None:
    """Requests that are larger than the windows of HTTP/2 arrive whole, several at once."""
    await run_unary(unary(stack.target, pairs=Pairs(among=1000, choices=8000), batch=1000, calls=1))

    load = await run_unary(unary(stack.target, pairs=Pairs(among=1000, choices=8000), batch=1000, calls=12))

    assert (12, 0) == (load.calls, load.failures), load.first_failure


async def test_connections_that_go_away_are_replaced() -> None:
    """A server that ends connections by their age costs no call."""
    options = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 5000)]
    async with served(options=options) as (address, servicer):
        load = await run_unary(unary(address, warm_up_s=0, seconds=0.8))

        assert (0, servicer.calls) == (load.failures, load.calls_in_all), load.first_failure


async def test_deliveries_are_applied(stack: Stack) -> None:
    """Every delivery is a new one, is taken, and most of them change something."""
    await run_unary(unary(stack.target, pairs=Pairs(among=200, choices=400), calls=400))

    load = await run_webhooks(webhook(stack, calls=200))

    assert (200, 0) == (load.calls, load.failures), load.first_failure
    rows = await stack.rows("select outcome, count(*) as count from clerksync.webhook_delivery group by outcome")
    outcomes = {row["outcome"]: row["count"] for row in rows}
    assert {"applied", "stale"} >= outcomes.keys()
    assert sum(outcomes.values()) == 200
    assert outcomes["applied"] > 150


async def test_refused_deliveries_are_failures(stack: Stack) -> None:
    """Deliveries with a wrong signature are told as failing."""
    load = await run_webhooks(webhook(stack, calls=20, secret="whsec_" + "A" * 32))

    assert (0, 20, "status 400") == (load.calls, load.failures, load.first_failure)


def webhook(stack: Stack, **changes: Any) -> WebhookJob:
    address = stack.webhook_url.removeprefix("http://").partition("/")[0]
    job: dict[str, Any] = {"senders": 8, "members": 200, "secret": WEBHOOK_SECRET, "seconds": 30.0}
    return WebhookJob(address=address, **(job | changes))


async def test_the_clients_calls_are_counted(stack: Stack) -> None:
    """The client's calls are as many as were asked for, and are answered."""
    pairs = Pairs(among=50, choices=100)
    load = await run_client(ClientJob(address=stack.target, callers=16, pairs=pairs, calls=300, seconds=30.0))

    assert (300, 0) == (load.calls, load.failures), load.first_failure
