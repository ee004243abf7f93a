"""An explanation as its response."""

from clerksync.v1 import sync_service_pb2
from clerksync_server.database.pairs import PairRow
from clerksync_server.grpc_api.fields import timestamp_of
from clerksync_server.grpc_api.resources import delivery_to_pb, organization_to_pb, user_profile_to_pb
from clerksync_server.rules.evidence import Verdict
from clerksync_server.sync.explain import Explanation

_ENSURE_NOW = {Verdict.CREATE: "CREATED"}


def explanation_to_pb(explanation: Explanation) -> sync_service_pb2.ExplainUserProfileResponse:
    pair = explanation.pair
    profile = explanation.profile
    origin = sync_service_pb2.PROFILE_ORIGIN_UNSPECIFIED
    if profile is not None:
        confirmed = profile.clerk_membership_id is not None
        origin = sync_service_pb2.PROFILE_ORIGIN_MEMBERSHIP if confirmed else sync_service_pb2.PROFILE_ORIGIN_EVIDENCE
    return sync_service_pb2.ExplainUserProfileResponse(
        summary=explanation.summary,
        user_profile=user_profile_to_pb(profile) if profile else None,
        origin=origin,
        membership_times=_membership_times(pair),
        evidence_time=timestamp_of(pair.evidence_at) if pair.evidence_at else None,
        organization=organization_to_pb(explanation.organization) if explanation.organization else None,
        tombstone=_tombstone(pair),
        user_delete_time=timestamp_of(pair.user_deleted_at) if pair.user_deleted_at else None,
        organization_delete_time=timestamp_of(pair.organization_deleted_at) if pair.organization_deleted_at else None,
        ensure_now=_ENSURE_NOW.get(explanation.ensure_now, explanation.ensure_now.name),
        last_writer=delivery_to_pb(explanation.last_writer) if explanation.last_writer else None,
        deliveries=map(delivery_to_pb, explanation.deliveries),
    )


def _membership_times(pair: PairRow) -> sync_service_pb2.MembershipTimes | None:
    if pair.membership_created_at is None or pair.membership_updated_at is None or pair.membership_event_at is None:
        return None
    return sync_service_pb2.MembershipTimes(
        create_time=timestamp_of(pair.membership_created_at),
        update_time=timestamp_of(pair.membership_updated_at),
        event_time=timestamp_of(pair.membership_event_at),
    )


def _tombstone(pair: PairRow) -> sync_service_pb2.MembershipTombstone | None:
    if pair.removed_at is None or pair.through_created_at is None:
        return None
    return sync_service_pb2.MembershipTombstone(
        through_create_time=timestamp_of(pair.through_created_at),
        through_membership_id=pair.through_membership_id or "",
        remove_time=timestamp_of(pair.removed_at),
    )
