"""Hands deliveries on to SyncService: those that wait at the same time in one call."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
import structlog

from clerksync.connection import Connection
from clerksync.v1 import resources_pb2, sync_service_pb2
from clerksync_server.errors import Overloaded
from clerksync_server.sync.coalescing import Coalescer
from clerksync_server.sync.room import Room
from clerksync_server.webhook_front.client import LONGEST_CALL_S
from clerksync_server.webhook_front.reading import MAX_BODY_BYTES
from clerksync_server.webhook_front.why import reason_among, why_of

_DEADLINE_S = LONGEST_CALL_S
_LANES = 2
_SHARES_OF = 8
"""So that SyncService works on one half of what comes at the same time while the front reads the other."""
_TURNS = 100
"""With 64 senders, both together bring 5,000 deliveries a second instead of 3,800."""
_STUCK_AFTER_S = 0.05
_MOST_LANES = 200
"""One replica that hangs must not hold up what the others would take: further calls pass those that are stuck."""
_LEAST_BYTES = MAX_BODY_BYTES // 64
"""What each body counts for at least: so 64 go together at most, and no more bytes than SyncService takes."""
_MOST_BYTES = 16 * MAX_BODY_BYTES
"""Of bodies that have not been answered for: 1,024 deliveries at most."""
_APART_S = 60.0
"""How long a SyncService that does not know ApplyClerkEvents is asked for each delivery apart."""
_log = structlog.get_logger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class NotApplied(Exception):
    """SyncService did not say that it has applied the delivery: its fate is unknown, and it has to be sent again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery whose signature has been verified."""

    svix_id: str
    attempted_at_s: int
    body: bytes

    def fill(self, request: sync_service_pb2.ApplyClerkEventRequest) -> None:
        """Writes it into a request."""
        request.svix_id = self.svix_id
        request.attempted_at.seconds = self.attempted_at_s
        request.body = self.body


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What became of a delivery, and by which call: SyncService logs the id."""

    outcome: resources_pb2.DeliveryOutcome
    request_id: str


class Forwarder:
    """A call leaves as soon as a lane is free, with all that waits; a lone delivery waits for nobody."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._coalescer: Coalescer[Delivery, Forwarded | None] = Coalescer(
            self._apply_together,
            lanes=_LANES,
            most=MAX_BODY_BYTES,
            size_of=_size_of,
            stuck_after_s=_STUCK_AFTER_S,
            most_lanes=_MOST_LANES,
            turns=_TURNS,
            shares_of=_SHARES_OF,
        )
        self._apart_until = 0.0
        self._room = Room(_MOST_BYTES)

    async def apply(self, delivery: Delivery) -> Forwarded:
        """Returns after the commit. Raises NotApplied or Overloaded."""
        size = _size_of(delivery)
        self._room.take(size)
        try:
            return await self._apply(delivery)
        finally:
            self._room.give_back(size)

    async def _apply(self, delivery: Delivery) -> Forwarded:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DEADLINE_S
        waiting = self._coalescer.submit(delivery)
        # A fifth of what asyncio.timeout costs.
        giving_up = loop.call_at(deadline, _give_up, waiting)
        try:
            forwarded = await waiting
        finally:
            giving_up.cancel()
        return await self._apply_apart(delivery, deadline - loop.time()) if forwarded is None else forwarded

    async def _apply_together(self, deliveries: Sequence[Delivery]) -> "Sequence[Forwarded | Exception | None]":
        """None for each that has to be applied apart: others would wait for it."""
        if time.monotonic() < self._apart_until:
            return [None] * len(deliveries)
        request = sync_service_pb2.ApplyClerkEventsRequest()
        for delivery in deliveries:
            delivery.fill(request.requests.add())
        # The id of the delivery, or of the first of several.
        request_id = deliveries[0].svix_id
        try:
            response = await self._connection.stub.ApplyClerkEvents(
                request, timeout=_DEADLINE_S, metadata=self._metadata(request_id)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                # While versions are rolled out, some replicas may be older than this front.
                self._apart_until = time.monotonic() + _APART_S
                return [None] * len(deliveries)
            _tell_failure(request_id, len(deliveries), error.code(), why_of(error))
            raise _failure(error.code()) from None
        return [_forwarded(result, request_id) for result in response.results]

    async def _apply_apart(self, delivery: Delivery, timeout_s: float) -> Forwarded:
        request = sync_service_pb2.ApplyClerkEventRequest()
        delivery.fill(request)
        metadata = self._metadata(delivery.svix_id)
        try:
            response = await self._connection.stub.ApplyClerkEvent(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            _tell_failure(delivery.svix_id, 1, error.code(), why_of(error))
            raise _failure(error.code()) from None
        return Forwarded(response.outcome, delivery.svix_id)

    def _metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", request_id), *self._connection.authorization())


def _give_up(waiting: "asyncio.Future[Forwarded | None]") -> None:
    if not waiting.done():
        waiting.set_exception(NotApplied())


def _forwarded(result: sync_service_pb2.ApplyClerkEventResult, request_id: str) -> Forwarded | Exception | None:
    if result.HasField("response"):
        return Forwarded(result.response.outcome, request_id)
    code = _CODES.get(result.error.code, grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.ABORTED:
        return None
    _tell_failure(request_id, 1, code, reason_among(result.error.details))
    return _failure(code)


def _failure(code: grpc.StatusCode) -> NotApplied | Overloaded:
    return Overloaded() if code is grpc.StatusCode.RESOURCE_EXHAUSTED else NotApplied()


def _size_of(delivery: Delivery) -> int:
    return max(len(delivery.body), _LEAST_BYTES)


def _tell_failure(request_id: str, size: int, code: grpc.StatusCode, why: str | None) -> None:
    _log.warning("SyncService did not apply deliveries", request_id=request_id, size=size, code=code.name, why=why)
