"""Under which ids a call is found again in logs and traces."""

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from clerksync import SyncClient
from clerksync.metadata import RequestIds, request_ids
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorder(sync_service_pb2_grpc.SyncServiceServicer):
    """Answers what it is asked and remembers what came along; the other methods are as generated."""

    def __init__(self) -> None:
        self.pairs: list[list[tuple[str, str]]] = []

    @property
    def seen(self) -> list[dict[str, str]]:
        return [dict(pairs) for pairs in self.pairs]

    async def EnsureUserProfile(  # noqa: N802
        self, request: sync_service_pb2.EnsureUserProfileRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        self.pairs.append([(key, str(value)) for key, value in context.invocation_metadata() or ()])
        profile = resources_pb2.UserProfile(
            id="1", clerk_user_id=request.clerk_user_id, clerk_org_id=request.clerk_org_id
        )
        return sync_service_pb2.EnsureUserProfileResponse(
            user_profile=profile, outcome=sync_service_pb2.ENSURE_OUTCOME_EXISTED
        )


@pytest.fixture
async def recorder() -> AsyncIterator[tuple[Recorder, str]]:
    servicer = Recorder()  # type: ignore[abstract]
    server = grpc.aio.server()
    sync_service_pb2_grpc.add_SyncServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


async def asked_in(ids: RequestIds | None, recorder: tuple[Recorder, str]) -> dict[str, str]:
    servicer, target = recorder
    async with SyncClient(target) as client:
        token = request_ids.set(ids)
        await client.ensure_user_profile("user_1", "org_1")
        request_ids.reset(token)
    return servicer.seen[-1]


async def test_the_ids_of_the_request_travel_along(recorder: tuple[Recorder, str]) -> None:
    """The request id and the traceparent of the request being served are metadata of the call made for it."""
    seen = await asked_in(RequestIds("request-1", TRACEPARENT), recorder)

    assert ("request-1", TRACEPARENT) == (seen["x-request-id"], seen["traceparent"])


@pytest.mark.parametrize("bad", ["", "with space", "é", "x" * 129, "a\r\nb: c"])
async def test_ids_that_are_ill_formed_stay_behind(recorder: tuple[Recorder, str], bad: str) -> None:
    """What a browser sent as an id, and what gRPC would refuse, is left out, and the call is made."""
    seen = await asked_in(RequestIds(bad, bad), recorder)

    assert set() == {"x-request-id", "traceparent"} & set(seen)


async def test_a_service_may_add_its_own(recorder: tuple[Recorder, str]) -> None:
    """The option `metadata` is asked for each question in the caller's context; what is ill-formed is left out."""
    servicer, target = recorder

    def more() -> list[tuple[str, str]]:
        return [("traceparent", TRACEPARENT), ("tenant", "one"), ("Bad Key", "x"), ("bad-value", "é"), ("x-bin", "x")]

    async with SyncClient(target, metadata=more) as client:
        await client.ensure_user_profile("user_1", "org_1")

    assert {"traceparent": TRACEPARENT, "tenant": "one"}.items() <= servicer.seen[-1].items()
    assert set() == {"Bad Key", "bad-value", "x-bin"} & set(servicer.seen[-1])


async def test_what_a_service_says_itself_wins(recorder: tuple[Recorder, str]) -> None:
    """Ids that the option `metadata` names go instead of those of the request being served, not beside them."""
    servicer, target = recorder
    other = TRACEPARENT.replace("b7ad", "ffff")

    async with SyncClient(
        target, metadata=lambda: [("traceparent", other), ("x-request-id", "of-the-service")]
    ) as client:
        token = request_ids.set(RequestIds("request-1", TRACEPARENT))
        await client.ensure_user_profile("user_1", "org_1")
        request_ids.reset(token)

    ids = [pair for pair in servicer.pairs[-1] if pair[0] in {"traceparent", "x-request-id"}]
    assert [("traceparent", other), ("x-request-id", "of-the-service")] == sorted(ids)


async def test_requests_served_at_once_do_not_mix(recorder: tuple[Recorder, str]) -> None:
    """Calls made one by one in tasks of their own carry each their own request's id."""
    servicer, target = recorder
    async with SyncClient(target) as client:

        async def serve(number: int) -> None:
            request_ids.set(RequestIds(f"request-{number}"))
            await client.ensure_user_profile(f"user_{number}", "org_1")

        for number in range(5):
            await asyncio.create_task(serve(number))

    assert [f"request-{number}" for number in range(5)] == [seen["x-request-id"] for seen in servicer.seen]
