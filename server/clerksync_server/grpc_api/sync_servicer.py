"""SyncService: each method checks the fields, calls one use case, and turns its result into protobuf."""

from typing import TYPE_CHECKING

from structlog.contextvars import bind_contextvars

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.grpc_api.explanation import explanation_to_pb
from clerksync_server.grpc_api.fields import Fields, check_ids
from clerksync_server.grpc_api.resources import DELIVERY_OUTCOMES, organization_to_pb, user_profile_to_pb
from clerksync_server.ops import metrics
from clerksync_server.sync.deliveries import Deliveries
from clerksync_server.sync.ensure import Ensure
from clerksync_server.sync.explain import Explain

if TYPE_CHECKING:
    import grpc.aio

MAX_BODY_BYTES = 1024 * 1024


class SyncServicer(sync_service_pb2_grpc.SyncServiceServicer):
    """Errors are raised as they are; the interceptor turns them into statuses."""

    def __init__(self, deliveries: Deliveries, ensure: Ensure, explain: Explain) -> None:
        self._deliveries = deliveries
        self._ensure = ensure
        self._explain = explain

    async def EnsureUserProfile(  # noqa: N802
        self,
        request: sync_service_pb2.EnsureUserProfileRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        fields = Fields(clerk_user_id=request.clerk_user_id, clerk_org_id=request.clerk_org_id)
        token_issued_at = fields.moment(request, "token_issued_at")
        fields.check()
        ensured = await self._ensure.user_profile(request.clerk_user_id, request.clerk_org_id, token_issued_at)
        return sync_service_pb2.EnsureUserProfileResponse(
            user_profile=user_profile_to_pb(ensured.profile), outcome=_ensure_outcome("user_profile", ensured.created)
        )

    async def EnsureOrganization(  # noqa: N802
        self,
        request: sync_service_pb2.EnsureOrganizationRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.EnsureOrganizationResponse:
        fields = Fields(clerk_org_id=request.clerk_org_id)
        token_issued_at = fields.moment(request, "token_issued_at")
        fields.check()
        ensured = await self._ensure.organization(request.clerk_org_id, token_issued_at)
        return sync_service_pb2.EnsureOrganizationResponse(
            organization=organization_to_pb(ensured.organization),
            outcome=_ensure_outcome("organization", ensured.created),
        )

    async def ApplyClerkEvent(  # noqa: N802
        self,
        request: sync_service_pb2.ApplyClerkEventRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.ApplyClerkEventResponse:
        fields = Fields(svix_id=request.svix_id)
        attempted_at = fields.moment(request, "attempted_at")
        if not request.HasField("attempted_at"):
            fields.violations["attempted_at"] = "is missing; expected the time of the header svix-timestamp"
        if len(request.body) > MAX_BODY_BYTES:
            fields.violations["body"] = f"is larger than {MAX_BODY_BYTES} bytes"
        fields.check()
        assert attempted_at is not None
        bind_contextvars(svix_id=request.svix_id)
        applied = await self._deliveries.apply(request.svix_id, request.body, attempted_at=attempted_at)
        event_type = metrics.known_event_type(applied.event_type)
        bind_contextvars(event_type=event_type, outcome=applied.outcome.value)
        metrics.DELIVERIES.labels(event_type=event_type, outcome=applied.outcome.value).inc()
        return sync_service_pb2.ApplyClerkEventResponse(outcome=DELIVERY_OUTCOMES[applied.outcome])

    async def ExplainUserProfile(  # noqa: N802
        self,
        request: sync_service_pb2.ExplainUserProfileRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.ExplainUserProfileResponse:
        check_ids(clerk_user_id=request.clerk_user_id, clerk_org_id=request.clerk_org_id)
        return explanation_to_pb(await self._explain.user_profile(request.clerk_user_id, request.clerk_org_id))


def _ensure_outcome(kind: str, created: bool) -> sync_service_pb2.EnsureOutcome:
    outcome = "created" if created else "existed"
    bind_contextvars(outcome=outcome)
    metrics.ENSURED.labels(kind=kind, outcome=outcome).inc()
    return sync_service_pb2.ENSURE_OUTCOME_CREATED if created else sync_service_pb2.ENSURE_OUTCOME_EXISTED
