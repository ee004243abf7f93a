"""The hop from the front to SyncService: what waits together travels together, and nobody waits for others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import accumulate
from typing import Any

import asyncpg
import bodies
import grpc
import grpc.aio
import pytest
from stack import Stack, now_ms

from clerksync.v1 import resources_pb2, sync_service_pb2
from clerksync_server.errors import Overloaded
from clerksync_server.webhook_front.client import keep_connected
from clerksync_server.webhook_front.forwarding import Delivery, Forwarded, Forwarder, NotApplied
from clerksync_server.webhook_front.reading import MAX_BODY_BYTES

APPLIED = resources_pb2.DELIVERY_OUTCOME_APPLIED
LOCK_ORG_2 = "select pg_advisory_xact_lock(hashtextextended('clerksync:1:organization:org_2', 0))"


class Service:
    """Answers, and notes the sizes of what it was asked together, and what it was asked alone."""

    def __init__(self, *, old: bool = False) -> None:
        self.batches: list[int] = []
        self.bytes: list[int] = []
        self.alone: list[str] = []
        self.request_ids: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.code: grpc.StatusCode | None = None
        self.item_code: grpc.StatusCode | None = None
        self._old = old

    async def ApplyClerkEvents(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self._old:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        self.batches.append(len(request.requests))
        self.bytes.append(sum(len(item.body) for item in request.requests))
        self.request_ids += [value for key, value in context.invocation_metadata() if key == "x-request-id"]
        await self.gate.wait()
        if self.code is not None:
            await context.abort(self.code, "no")
        response = sync_service_pb2.ApplyClerkEventsResponse()
        for item in request.requests:
            result = response.results.add()
            if self.item_code is not None and item.svix_id.endswith("7"):
                result.error.code = self.item_code.value[0]
            else:
                result.response.outcome = APPLIED
        return response

    async def ApplyClerkEvent(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.alone.append(request.svix_id)
        return sync_service_pb2.ApplyClerkEventResponse(outcome=APPLIED)


def add(service: Service, server: grpc.aio.Server) -> None:
    """With the two methods that the front calls, of all that SyncService has."""
    methods: dict[str, tuple[Any, Any]] = {
        "ApplyClerkEvents": (service.ApplyClerkEvents, sync_service_pb2.ApplyClerkEventsRequest),
        "ApplyClerkEvent": (service.ApplyClerkEvent, sync_service_pb2.ApplyClerkEventRequest),
    }
    handlers: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        for name, (method, request) in methods.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("clerksync.v1.SyncService", handlers),))


@asynccontextmanager
async def forwarding(*services: Service) -> AsyncIterator[Forwarder]:
    async with AsyncExitStack() as stop:
        ports = []
        for service in services:
            server = grpc.aio.server(options=[("grpc.max_receive_message_length", 2 * MAX_BODY_BYTES)])
            add(service, server)
            ports.append(server.add_insecure_port("127.0.0.1:0"))
            await server.start()
            stop.push_async_callback(server.stop, None)
        connection = keep_connected("ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports))
        stop.push_async_callback(connection.close)
        yield Forwarder(connection)


def deliveries(number: int, size: int = 100, name: str = "msg") -> list[Delivery]:
    return [Delivery(f"{name}_{n}", 1_795_000_000, b" " * size) for n in range(number)]


async def apply(forwarder: Forwarder, told: list[Delivery]) -> list[object]:
    """The outcome of each, or what it raised."""
    answers = await asyncio.gather(*map(forwarder.apply, told), return_exceptions=True)
    return [answer.outcome if isinstance(answer, Forwarded) else answer for answer in answers]


async def test_what_waits_together_is_one_call() -> None:
    """Many at once are few calls, of 64 deliveries at most; each carries the id of its first one as request id."""
    service = Service()
    async with forwarding(service) as forwarder:
        assert [APPLIED] * 200 == await apply(forwarder, deliveries(200))

    assert (200, 64) == (sum(service.batches), max(service.batches))
    assert 4 <= len(service.batches) <= 6
    assert service.alone == []
    # Two are on their way at the same time, and either may arrive first.
    sizes = {
        int(name.removeprefix("msg_")): size for name, size in zip(service.request_ids, service.batches, strict=True)
    }
    assert sorted(sizes) == [0, *accumulate(sizes[first] for first in sorted(sizes))][:-1]


async def test_a_lone_one_waits_for_nobody() -> None:
    """Deliveries one after the other are a call each, at once."""
    service = Service()
    async with forwarding(service) as forwarder:
        for delivery in deliveries(5):
            assert await forwarder.apply(delivery) == Forwarded(APPLIED, delivery.svix_id)

    assert service.batches == [1] * 5


async def test_no_call_is_too_large() -> None:
    """Deliveries with large bodies are as many calls as they need, each with at most 1 MiB of bodies."""
    service = Service()
    async with forwarding(service) as forwarder:
        told = [*deliveries(10, MAX_BODY_BYTES // 3, "third"), *deliveries(3, MAX_BODY_BYTES, "full")]
        assert [APPLIED] * 13 == await apply(forwarder, told)

    assert max(service.bytes) <= MAX_BODY_BYTES
    assert sum(service.batches) == 13


async def test_an_older_service() -> None:
    """A SyncService that does not know ApplyClerkEvents is asked for each delivery, and nothing is lost."""
    service = Service(old=True)
    async with forwarding(service) as forwarder:
        told = deliveries(100)
        assert [APPLIED] * 100 == await apply(forwarder, told)

    assert {delivery.svix_id for delivery in told} == set(service.alone)


async def test_what_has_to_go_alone() -> None:
    """A delivery that is answered with ABORTED is sent by itself; the others are not sent again."""
    service = Service()
    service.item_code = grpc.StatusCode.ABORTED
    async with forwarding(service) as forwarder:
        assert [APPLIED] * 20 == await apply(forwarder, deliveries(20))

    assert {"msg_7", "msg_17"} == set(service.alone)


async def test_one_that_fails() -> None:
    """A delivery that fails for itself is not applied; the others are."""
    service = Service()
    service.item_code = grpc.StatusCode.UNAVAILABLE
    async with forwarding(service) as forwarder:
        answers = await apply(forwarder, deliveries(10))

    assert [APPLIED] * 9 == [answer for answer in answers if not isinstance(answer, Exception)]
    assert isinstance(answers[7], NotApplied)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
async def test_a_call_that_fails(code: grpc.StatusCode) -> None:
    """If the call fails none of its deliveries is acknowledged, and the next ones are applied."""
    service = Service()
    service.code = code
    async with forwarding(service) as forwarder:
        answers = await apply(forwarder, deliveries(10))
        service.code = None

        assert [NotApplied] * 10 == list(map(type, answers))
        assert [APPLIED] * 10 == await apply(forwarder, deliveries(10))


async def test_no_room_at_the_other_side() -> None:
    """A delivery for which SyncService has no room is Overloaded, the others are applied."""
    service = Service()
    service.item_code = grpc.StatusCode.RESOURCE_EXHAUSTED
    async with forwarding(service) as forwarder:
        answers = await apply(forwarder, deliveries(10))

    assert [APPLIED] * 9 == [answer for answer in answers if not isinstance(answer, Exception)]
    assert isinstance(answers[7], Overloaded)


@pytest.mark.parametrize(("size", "room"), [(100, 1024), (MAX_BODY_BYTES, 16)])
async def test_no_room_on_this_side(size: int, room: int) -> None:
    """No more than 16 MiB, and 1,024 deliveries, are on their way; the next ones are Overloaded at once."""
    service = Service()
    service.gate.clear()
    async with forwarding(service) as forwarder:
        waiting = [asyncio.create_task(forwarder.apply(delivery)) for delivery in deliveries(room, size)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            assert [Overloaded] * 5 == list(map(type, await apply(forwarder, deliveries(5, name="more"))))
        service.gate.set()
        await asyncio.gather(*waiting)

        assert [APPLIED] * 5 == await apply(forwarder, deliveries(5, name="later"))


async def test_each_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery waits no longer than its deadline, also for a call to leave; one that went away is not sent."""
    monkeypatch.setattr("clerksync_server.webhook_front.forwarding._DEADLINE_S", 0.3)
    monkeypatch.setattr("clerksync_server.webhook_front.forwarding._MOST_LANES", 2)
    service = Service()
    service.gate.clear()
    async with forwarding(service) as forwarder:
        async with asyncio.timeout(2):
            answers = await apply(forwarder, deliveries(300))
        service.gate.set()

        assert [NotApplied] * 300 == list(map(type, answers))
        assert [APPLIED] * 3 == await apply(forwarder, deliveries(3))
    assert sum(service.batches) < 300


async def test_a_replica_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of two replicas hangs, the deliveries that go to the other one are answered at once."""
    monkeypatch.setattr("clerksync_server.webhook_front.forwarding._DEADLINE_S", 3.0)
    hanging, serving = Service(), Service()
    async with forwarding(hanging, serving) as forwarder:
        while not (hanging.batches and serving.batches):
            await apply(forwarder, deliveries(1))
        hanging.gate.clear()
        tasks = []
        for delivery in deliveries(100):
            tasks.append(asyncio.create_task(forwarder.apply(delivery)))
            await asyncio.sleep(0.02)
        quick = sum(task.done() and not task.exception() for task in tasks)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        hanging.gate.set()

    assert quick > 30
    assert {Forwarded, NotApplied} == set(map(type, answers))


async def test_a_locked_organization_holds_up_nobody(
    stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Deliveries that wait for a lock, more than there are lanes, hold up no others on their way to SyncService."""
    t = now_ms()

    async def join(number: int, org: str) -> Any:
        return await stack.post(bodies.membership("created", f"user_{number}", org, at=t, joined_at=t))

    async with connection.transaction():
        await connection.execute(LOCK_ORG_2)
        waiting = [asyncio.create_task(join(number, "org_2")) for number in range(8)]
        await asyncio.sleep(0.3)
        async with asyncio.timeout(3):
            others = await asyncio.gather(*(join(number, "org_1") for number in range(50)))
        assert not any(task.done() for task in waiting)

    assert {"applied"} == {answer.outcome for answer in [*others, *await asyncio.gather(*waiting)]}


async def test_a_burst_is_few_calls(stack: Stack) -> None:
    """What Clerk sends at once reaches SyncService in few calls, and each delivery has its own answer."""
    t = now_ms()
    told = [bodies.membership("created", f"user_{n}", "org_1", at=t, joined_at=t) for n in range(100)]
    raw = [json.dumps(body).encode() for body in told]

    answers = await asyncio.gather(*(stack.post(body, svix_id=f"msg_{n % 90}") for n, body in enumerate(raw)))

    assert sorted(answer.outcome for answer in answers) == ["applied"] * 90 + ["duplicate"] * 10
    assert len(await stack.rows("select from public.user_profile")) >= 90
