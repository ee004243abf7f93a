"""SyncService's methods, on the threads of a grpc server."""

from collections.abc import Iterator, Sequence

import grpc

from clerksync.testing import checks, statuses
from clerksync.testing.stage import Call, Stage, now_ms
from clerksync.testing.waiting import fail, wait_out_trouble
from clerksync.testing.watching import Stream
from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.rules.evidence import Verdict

_OUTCOMES = {
    Verdict.EXISTED: sync_service_pb2.ENSURE_OUTCOME_EXISTED,
    Verdict.CREATE: sync_service_pb2.ENSURE_OUTCOME_CREATED,
}


class FakeServicer(sync_service_pb2_grpc.SyncServiceServicer):
    """The methods that sibling services call. The others are UNIMPLEMENTED."""

    def __init__(self, stage: Stage, *, checkpoint_interval_s: float) -> None:
        self._stage = stage
        self._checkpoint_interval_s = checkpoint_interval_s

    def EnsureUserProfile(  # noqa: N802
        self, request: sync_service_pb2.EnsureUserProfileRequest, context: grpc.ServicerContext
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        self._arrive("EnsureUserProfile", [request])
        refusal = wait_out_trouble(context, self._stage)
        now = now_ms()
        if violations := checks.wrong_fields(request, now_ms=now):
            fail(context, statuses.invalid_fields(violations))
        if refusal is not None:
            fail(context, refusal)
        (result,) = self._ensure_profiles([request], now)
        if result.HasField("error"):
            fail(context, result.error)
        return result.response

    def BatchEnsureUserProfiles(  # noqa: N802
        self, request: sync_service_pb2.BatchEnsureUserProfilesRequest, context: grpc.ServicerContext
    ) -> sync_service_pb2.BatchEnsureUserProfilesResponse:
        self._arrive("BatchEnsureUserProfiles", request.requests)
        refusal = wait_out_trouble(context, self._stage)
        if violations := checks.wrong_batch(request):
            fail(context, statuses.invalid_fields(violations))
        if refusal is not None:
            fail(context, refusal)
        return sync_service_pb2.BatchEnsureUserProfilesResponse(
            results=self._ensure_profiles(request.requests, now_ms())
        )

    def EnsureOrganization(  # noqa: N802
        self, request: sync_service_pb2.EnsureOrganizationRequest, context: grpc.ServicerContext
    ) -> sync_service_pb2.EnsureOrganizationResponse:
        self._arrive("EnsureOrganization", [request])
        refusal = wait_out_trouble(context, self._stage)
        now = now_ms()
        if violations := checks.wrong_fields(request, now_ms=now):
            fail(context, statuses.invalid_fields(violations))
        if refusal is not None:
            fail(context, refusal)
        with self._stage.changed:
            verdict = self._stage.rows.ensure_organization(
                request.clerk_org_id, now_ms=now, token_issued_at_ms=checks.token_issued_at_ms(request)
            )
            organization = self._stage.rows.organization(request.clerk_org_id)
        if verdict not in _OUTCOMES:
            fail(context, statuses.refused(verdict))
        return sync_service_pb2.EnsureOrganizationResponse(organization=organization, outcome=_OUTCOMES[verdict])

    def WatchRemovals(  # noqa: N802
        self, request: sync_service_pb2.WatchRemovalsRequest, context: grpc.ServicerContext
    ) -> Iterator[sync_service_pb2.WatchRemovalsResponse]:
        wait_out_trouble(context, self._stage)
        stream = Stream(self._stage, context, checkpoint_interval_s=self._checkpoint_interval_s)
        yield from stream.responses(request.position)

    def _ensure_profiles(
        self, requests: Sequence[sync_service_pb2.EnsureUserProfileRequest], now: int
    ) -> list[sync_service_pb2.EnsureUserProfileResult]:
        results: dict[int, sync_service_pb2.EnsureUserProfileResult] = {}
        evidence: dict[int, int] = {}
        with self._stage.changed:
            for index, request in enumerate(requests):
                if violations := checks.wrong_fields(request, now_ms=now):
                    error = statuses.invalid_fields(violations)
                    results[index] = sync_service_pb2.EnsureUserProfileResult(error=error)
                else:
                    issued_at_ms = checks.token_issued_at_ms(request)
                    evidence[index] = self._stage.rows.evidence_ms(now_ms=now, token_issued_at_ms=issued_at_ms)
            # Where a pair is there several times, the latest evidence speaks for it.
            for index in sorted(evidence, key=evidence.__getitem__, reverse=True):
                results[index] = self._ensure_profile(requests[index], now)
        return [results[index] for index in range(len(requests))]

    def _ensure_profile(
        self, request: sync_service_pb2.EnsureUserProfileRequest, now: int
    ) -> sync_service_pb2.EnsureUserProfileResult:
        rows = self._stage.rows
        key = request.clerk_user_id, request.clerk_org_id
        verdict = rows.ensure_user_profile(key, now_ms=now, token_issued_at_ms=checks.token_issued_at_ms(request))
        if verdict not in _OUTCOMES:
            return sync_service_pb2.EnsureUserProfileResult(error=statuses.refused(verdict))
        response = sync_service_pb2.EnsureUserProfileResponse(
            user_profile=rows.user_profile(key), outcome=_OUTCOMES[verdict]
        )
        return sync_service_pb2.EnsureUserProfileResult(response=response)

    def _arrive(self, method: str, requests: Sequence[checks.Ensure]) -> None:
        with self._stage.changed:
            self._stage.calls.append(Call(method, len(requests)))
            for request in requests:
                if isinstance(request, sync_service_pb2.EnsureUserProfileRequest):
                    self._stage.asked[request.clerk_user_id, request.clerk_org_id] += 1
