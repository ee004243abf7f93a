"""DeliveryService: the operators' view of the ledger."""

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clerksync.v1 import delivery_service_pb2, delivery_service_pb2_grpc
from clerksync_server.clerk.values import is_id
from clerksync_server.database.deliveries import DeliveryRow
from clerksync_server.errors import InvalidFields
from clerksync_server.grpc_api.fields import check_ids
from clerksync_server.grpc_api.resources import DELIVERY_OUTCOMES, delivery_to_pb
from clerksync_server.sync.deliveries import Deliveries

if TYPE_CHECKING:
    import grpc.aio

_DEFAULT_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 1000
_OUTCOMES = {value: outcome for outcome, value in DELIVERY_OUTCOMES.items()}


class DeliveryServicer(delivery_service_pb2_grpc.DeliveryServiceServicer):
    """Errors are raised as they are; the interceptor turns them into statuses."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def ListDeliveries(  # noqa: N802
        self,
        request: delivery_service_pb2.ListDeliveriesRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> delivery_service_pb2.ListDeliveriesResponse:
        if not 0 <= request.page_size <= _MAX_PAGE_SIZE:
            raise InvalidFields({"page_size": f"expected 1 to {_MAX_PAGE_SIZE}, or 0 for {_DEFAULT_PAGE_SIZE}"})
        if request.outcome and request.outcome not in _OUTCOMES:
            raise InvalidFields({"outcome": "is not a value of DeliveryOutcome"})
        limit = request.page_size or _DEFAULT_PAGE_SIZE
        rows = await self._deliveries.list(
            outcome=_OUTCOMES.get(request.outcome),
            after=_position(request.page_token) if request.page_token else None,
            limit=limit + 1,
        )
        response = delivery_service_pb2.ListDeliveriesResponse(
            deliveries=[delivery_to_pb(row, include_body=False) for row in rows[:limit]]
        )
        if len(rows) > limit:
            response.next_page_token = _page_token(rows[limit - 1])
        return response

    async def GetDelivery(  # noqa: N802
        self,
        request: delivery_service_pb2.GetDeliveryRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> delivery_service_pb2.GetDeliveryResponse:
        check_ids(svix_id=request.svix_id)
        row = await self._deliveries.get(request.svix_id, with_body=request.include_body)
        return delivery_service_pb2.GetDeliveryResponse(delivery=delivery_to_pb(row, include_body=request.include_body))

    async def RedriveDelivery(  # noqa: N802
        self,
        request: delivery_service_pb2.RedriveDeliveryRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> delivery_service_pb2.RedriveDeliveryResponse:
        check_ids(svix_id=request.svix_id)
        row = await self._deliveries.redrive(request.svix_id)
        return delivery_service_pb2.RedriveDeliveryResponse(delivery=delivery_to_pb(row, include_body=False))


def _page_token(row: DeliveryRow) -> str:
    return base64.urlsafe_b64encode(f"{row.received_at.isoformat()} {row.svix_id}".encode()).decode()


def _position(page_token: str) -> tuple[datetime, str]:
    try:
        moment, _, svix_id = base64.urlsafe_b64decode(page_token).decode().partition(" ")
        received_at = datetime.fromisoformat(moment).astimezone(UTC)
    except (ValueError, OverflowError):
        svix_id = ""
    if not is_id(svix_id):
        raise InvalidFields({"page_token": "expected the next_page_token of an earlier answer"})
    return received_at, svix_id
