"""Deliveries from requests, what became of them as responses, and what log and metrics are told."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from structlog.contextvars import bind_contextvars

from clerksync.v1 import sync_service_pb2
from clerksync_server.errors import ClerksyncError, DatabaseUnavailable, DeliveryContended, InvalidFields, Overloaded
from clerksync_server.grpc_api.fields import Fields
from clerksync_server.grpc_api.resources import DELIVERY_OUTCOMES
from clerksync_server.grpc_api.status import status_of
from clerksync_server.ops import metrics
from clerksync_server.sync.deliveries import Applied, Delivery

MAX_BODY_BYTES = 1024 * 1024
MAX_DELIVERIES = 1000
_FIRST_ATTEMPT, _LAST_ATTEMPT = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Beyond, the times that stand in for those of bodies would leave what Postgres and Python can tell: asyncpg stores the
first moment of the year 1 as -infinity."""


def delivery_of(request: sync_service_pb2.ApplyClerkEventRequest) -> Delivery:
    """Raises InvalidFields."""
    fields = Fields(svix_id=request.svix_id)
    attempted_at = fields.moment(request, "attempted_at")
    if not request.HasField("attempted_at"):
        fields.violations["attempted_at"] = "is missing; expected the time of the header svix-timestamp"
    elif attempted_at is not None and not _FIRST_ATTEMPT <= attempted_at < _LAST_ATTEMPT:
        fields.violations["attempted_at"] = "is no time of an attempt; expected the time of the header svix-timestamp"
    if len(request.body) > MAX_BODY_BYTES:
        fields.violations["body"] = f"is larger than {MAX_BODY_BYTES} bytes"
    fields.check()
    assert attempted_at is not None
    return Delivery(request.svix_id, attempted_at, request.body)


def deliveries_of(request: sync_service_pb2.ApplyClerkEventsRequest) -> list[Delivery | InvalidFields]:
    """One for each request; what is wrong with one concerns it alone. Raises InvalidFields about all of them."""
    if not 1 <= len(request.requests) <= MAX_DELIVERIES:
        raise InvalidFields({"requests": f"holds {len(request.requests)}; expected 1 to {MAX_DELIVERIES}"})
    if sum(len(item.body) for item in request.requests) > MAX_BODY_BYTES:
        raise InvalidFields({"requests": f"has bodies of more than {MAX_BODY_BYTES} bytes in all"})
    return [_delivery_or_error(item) for item in request.requests]


def _delivery_or_error(request: sync_service_pb2.ApplyClerkEventRequest) -> Delivery | InvalidFields:
    try:
        return delivery_of(request)
    except InvalidFields as error:
        return error


def applied_to_pb(applied: Applied) -> sync_service_pb2.ApplyClerkEventResponse:
    return sync_service_pb2.ApplyClerkEventResponse(outcome=DELIVERY_OUTCOMES[applied.outcome])


def result_to_pb(result: Applied | ClerksyncError) -> sync_service_pb2.ApplyClerkEventResult:
    if isinstance(result, ClerksyncError):
        return sync_service_pb2.ApplyClerkEventResult(error=status_of(result))
    return sync_service_pb2.ApplyClerkEventResult(response=applied_to_pb(result))


def tell_applied(svix_id: str, applied: Applied) -> None:
    """Tells log and metrics what became of a delivery."""
    event_type = metrics.known_event_type(applied.event_type)
    bind_contextvars(svix_id=svix_id, event_type=event_type, outcome=applied.outcome.value)
    metrics.DELIVERIES.labels(event_type=event_type, outcome=applied.outcome.value).inc()


def tell_results(asked: Sequence[Delivery | InvalidFields], results: Sequence[Applied | ClerksyncError]) -> None:
    """Tells log and metrics what became of a batch: of each outcome how many."""
    match asked, results:
        case [Delivery(svix_id=svix_id)], [Applied() as applied]:
            tell_applied(svix_id, applied)
            return
    outcomes = Counter(_outcome(result) for result in results)
    bind_contextvars(items=len(results), **outcomes)
    told = Counter(
        (metrics.known_event_type(result.event_type), result.outcome.value)
        for result in results
        if isinstance(result, Applied)
    )
    for (event_type, outcome), number in told.items():
        metrics.DELIVERIES.labels(event_type=event_type, outcome=outcome).inc(number)
    if failed := next((result for result in results if isinstance(result, DatabaseUnavailable)), None):
        bind_contextvars(database_error=failed.detail)


def _outcome(result: Applied | ClerksyncError) -> str:
    if isinstance(result, Applied):
        return result.outcome.value
    if isinstance(result, Overloaded):
        return "overloaded"
    return "contended" if isinstance(result, DeliveryContended) else "failed"
