"""Rows as the resources of the contract."""

from google.protobuf.timestamp_pb2 import Timestamp

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
    profile = resources_pb2.UserProfile()
    fill_user_profile(profile, row)
    return profile


def fill_user_profile(profile: resources_pb2.UserProfile, row: UserProfileRow) -> None:
    """Fills what is part of a response already: to make one and pass it on would copy it at each level."""
    profile.id, profile.clerk_user_id, profile.clerk_org_id, role, clerk_membership_id, created_us, updated_us = row
    if role is not None:
        profile.role = role
    if clerk_membership_id is not None:
        profile.clerk_membership_id = clerk_membership_id
    _fill_time(profile.create_time, created_us)
    _fill_time(profile.update_time, updated_us)


def _fill_time(timestamp: Timestamp, microseconds: int) -> None:
    timestamp.seconds, rest = divmod(microseconds, 1_000_000)
    timestamp.nanos = rest * 1000


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
