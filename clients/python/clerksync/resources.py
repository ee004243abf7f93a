"""What calls return: rows of the two tables, as plain values."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from clerksync.v1 import resources_pb2, sync_service_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CREATED: Final = sync_service_pb2.ENSURE_OUTCOME_CREATED


@dataclass(frozen=True, slots=True)
class UserProfile:
    """A row of user_profile: one user in one organization."""

    id: str
    """The row's id, a UUID in lower case: what other tables refer to."""
    clerk_user_id: str
    clerk_org_id: str
    role: str | None
    """As Clerk spells it, for example `org:admin`; None while provisional, and up to the cache's TTL old."""
    clerk_membership_id: str | None
    """None while the profile is provisional: not yet confirmed by a webhook."""
    created_at: datetime
    updated_at: datetime

    @property
    def is_provisional(self) -> bool:
        """Whether the profile rests on a token alone so far."""
        return self.clerk_membership_id is None


@dataclass(frozen=True, slots=True)
class Organization:
    """A row of organization."""

    id: str
    clerk_org_id: str
    name: str
    """Its Clerk id while it is a placeholder."""
    slug: str | None
    image_url: str | None
    is_placeholder: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class EnsuredUserProfile:
    """The profile, and whether this very call made it."""

    profile: UserProfile
    created: bool


@dataclass(frozen=True, slots=True)
class EnsuredOrganization:
    """The organization, and whether this very call made it."""

    organization: Organization
    created: bool


def ensured_user_profile_from_pb(response: sync_service_pb2.EnsureUserProfileResponse) -> EnsuredUserProfile:
    """Raises ValueError for a time that is none."""
    return EnsuredUserProfile(user_profile_from_pb(response.user_profile), response.outcome == _CREATED)


def user_profile_from_pb(profile: resources_pb2.UserProfile) -> UserProfile:
    """Raises ValueError for a time that is none."""
    return UserProfile(
        profile.id,
        profile.clerk_user_id,
        profile.clerk_org_id,
        profile.role or ("" if profile.HasField("role") else None),
        profile.clerk_membership_id or ("" if profile.HasField("clerk_membership_id") else None),
        _moment(profile.create_time),
        _moment(profile.update_time),
    )


def ensured_organization_from_pb(response: sync_service_pb2.EnsureOrganizationResponse) -> EnsuredOrganization:
    """Raises ValueError for a time that is none."""
    organization = response.organization
    return EnsuredOrganization(
        Organization(
            id=organization.id,
            clerk_org_id=organization.clerk_org_id,
            name=organization.name,
            slug=organization.slug if organization.HasField("slug") else None,
            image_url=organization.image_url if organization.HasField("image_url") else None,
            is_placeholder=organization.is_placeholder,
            created_at=_moment(organization.create_time),
            updated_at=_moment(organization.update_time),
        ),
        response.outcome == _CREATED,
    )


def _moment(timestamp: Timestamp) -> datetime:
    """As `ToDatetime`, in a third of the time: a batch has two for each answer."""
    nanos = timestamp.nanos
    if not 0 <= nanos < 1_000_000_000:
        raise ValueError("a timestamp's nanos are out of range")
    try:
        return _EPOCH + timedelta(0, timestamp.seconds, nanos // 1000)
    except OverflowError as error:
        raise ValueError("a timestamp is out of range") from error
