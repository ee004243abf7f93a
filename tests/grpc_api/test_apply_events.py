"""ApplyClerkEvents: many deliveries at once, each with its own outcome."""

import asyncio
import json

import asyncpg
import bodies
import grpc
import pytest
import structlog
from google.rpc import error_details_pb2
from stack import Stack, error_info, now_ms, timestamp_of
from structlog.testing import capture_logs

from clerksync.v1 import resources_pb2, sync_service_pb2

Apply = sync_service_pb2.ApplyClerkEventRequest
MIB = 1024 * 1024
LOCK_ORG_2 = "select pg_advisory_xact_lock(hashtextextended('clerksync:1:organization:org_2', 0))"


def delivery(svix_id: str, body: bodies.Body | bytes) -> sync_service_pb2.ApplyClerkEventRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Apply(svix_id=svix_id, attempted_at=timestamp_of(now_ms()), body=raw)


def joined(user: str, org: str = "org_1") -> sync_service_pb2.ApplyClerkEventRequest:
    t = now_ms()
    return delivery(f"msg_{user}_{org}", bodies.membership("created", user, org, at=t, joined_at=t))


async def apply(
    stack: Stack, *requests: sync_service_pb2.ApplyClerkEventRequest, request_id: str = "batch-1"
) -> list[str]:
    """The outcome of each, or the reason of its error."""
    response = await stack.sync.ApplyClerkEvents(
        sync_service_pb2.ApplyClerkEventsRequest(requests=requests),
        timeout=10,
        metadata=(("x-request-id", request_id),),
    )
    return list(map(told, response.results))


def told(result: sync_service_pb2.ApplyClerkEventResult) -> str:
    if result.HasField("response"):
        outcome = resources_pb2.DeliveryOutcome.Name(result.response.outcome)
        return outcome.removeprefix("DELIVERY_OUTCOME_")
    (packed,) = [detail for detail in result.error.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    info = error_details_pb2.ErrorInfo()
    packed.Unpack(info)
    return str(info.reason)


async def test_each_has_its_own_outcome(stack: Stack) -> None:
    """Deliveries are answered in their order, and what is wrong with one concerns it alone."""
    unsigned = Apply(svix_id="", body=b"{}")

    answers = await apply(
        stack,
        joined("user_1"),
        delivery("msg_bad", b"{}"),
        unsigned,
        delivery("msg_other", {"type": "x", "data": {}}),
        joined("user_1"),
        joined("user_2"),
    )

    assert answers == ["APPLIED", "QUARANTINED", "INVALID_FIELD", "IGNORED", "DUPLICATE", "APPLIED"]
    assert len(await stack.rows("select from public.user_profile")) == 2


async def test_nobody_waits_for_others(stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A delivery that would have to wait is told so at once and not applied; by itself it waits, and is applied."""
    contended = joined("user_1", "org_2")
    async with connection.transaction():
        await connection.execute(LOCK_ORG_2)
        async with asyncio.timeout(3):
            assert await apply(stack, joined("user_1"), contended) == ["APPLIED", "DELIVERY_CONTENDED"]
        alone = stack.sync.ApplyClerkEvent(contended)
        await asyncio.sleep(0.2)
        assert not alone.done()

    assert (await alone).outcome == resources_pb2.DELIVERY_OUTCOME_APPLIED


async def test_deletions_of_organizations_go_alone(stack: Stack) -> None:
    """What may take long is not applied together with others."""
    await apply(stack, joined("user_1"))
    deletion = delivery("msg_deletion", bodies.organization("deleted", "org_1", at=now_ms()))

    assert await apply(stack, deletion, joined("user_2", "org_2")) == ["DELIVERY_CONTENDED", "APPLIED"]
    assert len(await stack.rows("select from public.organization")) == 2


@pytest.mark.parametrize(
    "requests",
    [[], [Apply()] * 1001, [delivery(f"msg_{n}", b" " * (MIB // 2 + 1)) for n in range(2)]],
    ids=["none", "too many", "too large"],
)
async def test_limits(stack: Stack, requests: list[sync_service_pb2.ApplyClerkEventRequest]) -> None:
    """No deliveries, more than 1,000, or more than 1 MiB of bodies are refused as a whole, and the field is named."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await apply(stack, *requests)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(refused.value).reason == "INVALID_FIELD"
    assert "requests" in (refused.value.details() or "")


async def test_a_full_megabyte(stack: Stack) -> None:
    """Bodies of 1 MiB in all are taken, in one delivery or in many."""
    many = [delivery(f"msg_{n}", b" " * 1049) for n in range(999)]

    assert await apply(stack, delivery("msg_large", b" " * MIB)) == ["QUARANTINED"]
    assert await apply(stack, *many) == ["QUARANTINED"] * 999


async def test_without_a_database(stack: Stack) -> None:
    """If none can be applied the call is UNAVAILABLE, so that the caller's channel tries again."""
    await stack.application._service._database.close()  # type: ignore[union-attr]

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await apply(stack, joined("user_1"), joined("user_2"))

    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_the_log_says(stack: Stack) -> None:
    """A call has one line with how many of each outcome; a lone delivery is named in it."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await apply(stack, joined("user_1"), joined("user_2"), joined("user_2"), Apply(), request_id="batch-2")
        await apply(stack, joined("user_3"), request_id="batch-3")

    several, one = [line for line in logs if line["event"] == "call"]
    assert {"request_id": "batch-2", "items": 4, "applied": 2, "duplicate": 1, "failed": 1}.items() <= several.items()
    assert {"request_id": "batch-3", "svix_id": "msg_user_3_org_1", "outcome": "applied"}.items() <= one.items()
