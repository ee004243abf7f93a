"""SyncService: each method checks the fields, calls one use case, and turns its result into protobuf."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from functools import cache, lru_cache
from typing import TYPE_CHECKING, cast

from structlog.contextvars import bind_contextvars

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.access.session_tokens import SessionTokens
from clerksync_server.errors import (
    ClerksyncError,
    DatabaseRefused,
    DatabaseUnavailable,
    InvalidFields,
    KeysUnavailable,
    SessionTokenRefused,
)
from clerksync_server.grpc_api.applying import applied_to_pb, deliveries_of, delivery_of, tell_applied, tell_results
from clerksync_server.grpc_api.applying import result_to_pb as applied_result_to_pb
from clerksync_server.grpc_api.call_log import NOTHING_NEW, tell_nothing_new
from clerksync_server.grpc_api.explanation import explanation_to_pb
from clerksync_server.grpc_api.fields import check_ids
from clerksync_server.grpc_api.proving import Proving
from clerksync_server.grpc_api.resources import fill_user_profile, organization_to_pb
from clerksync_server.grpc_api.status import status_of
from clerksync_server.ops import metrics
from clerksync_server.sync.deliveries import Deliveries, Delivery
from clerksync_server.sync.ensure import Ensure, Sighting
from clerksync_server.sync.ensure_batches import EnsuredProfile
from clerksync_server.sync.explain import Explain
from clerksync_server.sync.removals import RemovalFeed, Update

if TYPE_CHECKING:
    import grpc.aio
    from prometheus_client import Counter

_MAX_BATCH = 1000
_MAX_REMOVALS = 1000
_TOKENS_IN_A_TURN = 8
"""A new token takes some 130 us to verify; other calls do not wait for those of a whole batch."""
_ENSURE_OUTCOMES = {
    True: sync_service_pb2.ENSURE_OUTCOME_CREATED,
    False: sync_service_pb2.ENSURE_OUTCOME_EXISTED,
}


class SyncServicer(sync_service_pb2_grpc.SyncServiceServicer):
    """Errors are raised as they are; the interceptor turns them into statuses."""

    def __init__(
        self,
        deliveries: Deliveries,
        ensure: Ensure,
        explain: Explain,
        removals: RemovalFeed,
        session_tokens: SessionTokens | None = None,
    ) -> None:
        """Without `session_tokens` there is nothing to verify them with."""
        self._deliveries = deliveries
        self._ensure = ensure
        self._explain = explain
        self._removals = removals
        self._proving = Proving(session_tokens)

    async def EnsureUserProfile(  # noqa: N802
        self,
        request: sync_service_pb2.EnsureUserProfileRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        ensured = await self._ensure.user_profile(self._proving.sighting(request))
        response = sync_service_pb2.EnsureUserProfileResponse(outcome=_ensure_outcome("user_profile", ensured.created))
        fill_user_profile(response.user_profile, ensured.profile)
        return response

    async def BatchEnsureUserProfiles(  # noqa: N802
        self,
        request: sync_service_pb2.BatchEnsureUserProfilesRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.BatchEnsureUserProfilesResponse:
        if not 1 <= len(request.requests) <= _MAX_BATCH:
            raise InvalidFields({"requests": f"holds {len(request.requests)}; expected 1 to {_MAX_BATCH}"})
        asked = await self._sightings(request.requests)
        outcomes = iter(await self._ensure.user_profiles([item for item in asked if isinstance(item, Sighting)]))
        results = [next(outcomes) if isinstance(item, Sighting) else item for item in asked]
        _tell_batch(results)
        response = sync_service_pb2.BatchEnsureUserProfilesResponse()
        for result in results:
            _fill_result(response.results.add(), result)
        return response

    async def WatchRemovals(  # noqa: N802
        self,
        request: sync_service_pb2.WatchRemovalsRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> AsyncIterator[sync_service_pb2.WatchRemovalsResponse]:
        async with aclosing(self._removals.watch(request.position)) as updates:
            async for update in updates:
                for response in _responses(update):
                    yield response

    async def EnsureOrganization(  # noqa: N802
        self,
        request: sync_service_pb2.EnsureOrganizationRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.EnsureOrganizationResponse:
        ensured = await self._ensure.organization(*self._proving.organization(request))
        return sync_service_pb2.EnsureOrganizationResponse(
            organization=organization_to_pb(ensured.organization),
            outcome=_ensure_outcome("organization", ensured.created),
        )

    async def ApplyClerkEvent(  # noqa: N802
        self,
        request: sync_service_pb2.ApplyClerkEventRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.ApplyClerkEventResponse:
        delivery = delivery_of(request)
        bind_contextvars(svix_id=delivery.svix_id)
        applied = await self._deliveries.apply(delivery)
        tell_applied(delivery.svix_id, applied)
        return applied_to_pb(applied)

    async def ApplyClerkEvents(  # noqa: N802
        self,
        request: sync_service_pb2.ApplyClerkEventsRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.ApplyClerkEventsResponse:
        asked = deliveries_of(request)
        outcomes = iter(await self._deliveries.apply_together([item for item in asked if isinstance(item, Delivery)]))
        results = [next(outcomes) if isinstance(item, Delivery) else item for item in asked]
        tell_results(asked, results)
        if all(isinstance(result, DatabaseUnavailable) for result in results):
            # Then the caller's channel tries again by itself, at another replica.
            raise cast("DatabaseUnavailable", results[0])
        return sync_service_pb2.ApplyClerkEventsResponse(results=map(applied_result_to_pb, results))

    async def ExplainUserProfile(  # noqa: N802
        self,
        request: sync_service_pb2.ExplainUserProfileRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> sync_service_pb2.ExplainUserProfileResponse:
        check_ids(clerk_user_id=request.clerk_user_id, clerk_org_id=request.clerk_org_id)
        return explanation_to_pb(await self._explain.user_profile(request.clerk_user_id, request.clerk_org_id))

    async def _sightings(
        self, requests: Sequence[sync_service_pb2.EnsureUserProfileRequest]
    ) -> list[Sighting | ClerksyncError]:
        """For each request what it says, or what is wrong with it."""
        sighting, tokens = self._proving.sighting, 0
        asked: list[Sighting | ClerksyncError] = []
        for request in requests:
            if request.session_token:
                tokens += 1
                if not tokens % _TOKENS_IN_A_TURN:
                    await asyncio.sleep(0)
            try:
                asked.append(sighting(request))
            except (InvalidFields, SessionTokenRefused, KeysUnavailable) as error:
                asked.append(error)
        return asked


def _fill_result(filled: sync_service_pb2.EnsureUserProfileResult, result: EnsuredProfile | ClerksyncError) -> None:
    if isinstance(result, ClerksyncError):
        filled.error.CopyFrom(status_of(result))
        return
    response = filled.response
    response.outcome = _ENSURE_OUTCOMES[result.created]
    fill_user_profile(response.user_profile, result.profile)


def _tell_batch(results: Sequence[EnsuredProfile | ClerksyncError]) -> None:
    """Tells log and metrics what became of a batch."""
    ensured = [result.created for result in results if isinstance(result, EnsuredProfile)]
    created = sum(ensured)
    bind_contextvars(items=len(results), created=created, failed=len(results) - len(ensured))
    if len(ensured) == len(results) and not created:
        tell_nothing_new()
    _ensured("user_profile", created=True).inc(created)
    _ensured("user_profile", created=False).inc(len(ensured) - created)
    if refused := next((result for result in results if isinstance(result, DatabaseRefused)), None):
        bind_contextvars(database_error=refused.detail)


@lru_cache(maxsize=16)
def _responses(update: Update) -> list[sync_service_pb2.WatchRemovalsResponse]:
    """An update, in parts that are not too large. Only with the last one has the watcher got as far as it leads.

    Made once for all watchers.
    """
    return list(_parts(update))


def _parts(update: Update) -> Iterator[sync_service_pb2.WatchRemovalsResponse]:
    for start in range(0, len(update.removals) or 1, _MAX_REMOVALS):
        is_last = start + _MAX_REMOVALS >= len(update.removals)
        yield sync_service_pb2.WatchRemovalsResponse(
            position=update.position if is_last else update.since,
            reset=update.reset,
            removals=[
                sync_service_pb2.Removal(clerk_user_id=gone.clerk_user_id or "", clerk_org_id=gone.clerk_org_id or "")
                for gone in update.removals[start : start + _MAX_REMOVALS]
            ],
        )


def _ensure_outcome(kind: str, created: bool) -> sync_service_pb2.EnsureOutcome:
    if created:
        bind_contextvars(outcome="created")
    else:
        tell_nothing_new()
    _ensured(kind, created=created).inc()
    return _ENSURE_OUTCOMES[created]


@cache
def _ensured(kind: str, *, created: bool) -> "Counter":
    """Found once: to look for a metric by its labels costs more than to count."""
    return metrics.ENSURED.labels(kind=kind, outcome="created" if created else NOTHING_NEW)
