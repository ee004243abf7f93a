"""Rows as the resources of the contract."""

from clerksync.v1 import resources_pb2
from clerksync_server.database.deliveries import DeliveryRow, Outcome
from clerksync_server.database.profiles import OrganizationRow, UserProfileRow
from clerksync_server.grpc_api.fields import timestamp_of

DELIVERY_OUTCOMES = {
    Outcome.APPLIED: resources_pb2.DELIVERY_OUTCOME_APPLIED,
    Outcome.DUPLICATE: resources_pb2.DELIVERY_OUTCOME_DUPLICATE,
    Outcome.STALE: resources_pb2.DELIVERY_OUTCOME_STALE,
    Outcome.IGNORED: resources_pb2.DELIVERY_OUTCOME_IGNORED,
    Outcome.QUARANTINED: resources_pb2.DELIVERY_OUTCOME_QUARANTINED,
}


def user_profile_to_pb(row: UserProfileRow) -> resources_pb2.UserProfile:
    return resources_pb2.UserProfile(
        id=row.id,
        clerk_user_id=row.clerk_user_id,
        clerk_org_id=row.clerk_org_id,
        role=row.role,
        clerk_membership_id=row.clerk_membership_id,
        create_time=_time(row.created_us),
        update_time=_time(row.updated_us),
    )


def _time(microseconds: int) -> dict[str, int]:
    """As protobuf takes it to make a Timestamp of: from a datetime that takes ten times as long."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return {"seconds": seconds, "nanos": rest * 1000}


def organization_to_pb(row: OrganizationRow) -> resources_pb2.Organization:
    return resources_pb2.Organization(
        id=row.id,
        clerk_org_id=row.clerk_org_id,
        name=row.name,
        slug=row.slug,
        image_url=row.image_url,
        is_placeholder=row.is_placeholder,
        create_time=timestamp_of(row.created_at),
        update_time=timestamp_of(row.updated_at),
    )


def delivery_to_pb(row: DeliveryRow, *, include_body: bool = False) -> resources_pb2.Delivery:
    judgement = row.judgement
    return resources_pb2.Delivery(
        svix_id=row.svix_id,
        outcome=DELIVERY_OUTCOMES[judgement.outcome],
        event_type=judgement.event_type or "",
        event_time=None if judgement.event_at is None else timestamp_of(judgement.event_at),
        receive_time=timestamp_of(row.received_at),
        commit_time=timestamp_of(row.committed_at),
        clerk_user_id=judgement.clerk_user_id or "",
        clerk_org_id=judgement.clerk_org_id or "",
        body_sha256=row.body_sha256,
        quarantine_reason=judgement.quarantine_reason or "",
        body=(judgement.body or b"") if include_body else b"",
        rule=judgement.rule or "",
        explanation=judgement.rule.sentence if judgement.rule else "",
    )
