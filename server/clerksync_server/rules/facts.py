"""The facts that every input is turned into.

All times are Clerk's own, in milliseconds since the epoch.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Generation(NamedTuple):
    """One life of a membership. Leaving and joining again makes a new, higher one."""

    created_at_ms: int
    membership_id: str


class Version(NamedTuple):
    """The place of a snapshot in time: the entity's own update time, then the time of the event that carried it."""

    updated_at_ms: int
    event_at_ms: int


@dataclass(frozen=True, slots=True)
class OrganizationSnapshot:
    """What an organization looked like at a version, from its own event or nested in a membership's."""

    clerk_org_id: str
    name: str
    slug: str | None
    image_url: str | None
    created_at_ms: int | None
    version: Version

    @property
    def order(self) -> tuple[Version, str, str, str, int]:
        """Last writer wins; the content breaks a tie, so that every replica breaks it alike."""
        created_at_ms = -1 if self.created_at_ms is None else self.created_at_ms
        return self.version, self.name, self.slug or "", self.image_url or "", created_at_ms


@dataclass(frozen=True, slots=True)
class OrganizationMention:
    """An organization was referred to by its id alone: enough for a placeholder, which is older than everything."""

    clerk_org_id: str


@dataclass(frozen=True, slots=True)
class OrganizationDeleted:
    """Final: Clerk never uses an id again."""

    clerk_org_id: str
    deleted_at_ms: int


@dataclass(frozen=True, slots=True)
class UserSeen:
    """A user exists. It changes nothing: a profile belongs to a membership."""

    clerk_user_id: str


@dataclass(frozen=True, slots=True)
class UserDeleted:
    """Final: Clerk never uses an id again."""

    clerk_user_id: str
    deleted_at_ms: int


@dataclass(frozen=True, slots=True)
class MembershipSnapshot:
    """A living membership at a version."""

    clerk_user_id: str
    clerk_org_id: str
    generation: Generation
    version: Version
    role: str | None

    @property
    def order(self) -> tuple[Generation, Version, str]:
        """The higher generation wins, inside it the higher version; the role breaks a tie, on every replica alike."""
        return self.generation, self.version, self.role or ""


@dataclass(frozen=True, slots=True)
class MembershipEnded:
    """Every generation up to `through` is dead, and the latest removal known was at `removed_at_ms`.

    Made by a deletion, which names its generation; or by an answer of the Backend API at time T, "not a member", as
    `through = (T, "")`.
    """

    clerk_user_id: str
    clerk_org_id: str
    through: Generation
    removed_at_ms: int


Fact = (
    OrganizationSnapshot
    | OrganizationMention
    | OrganizationDeleted
    | UserSeen
    | UserDeleted
    | MembershipSnapshot
    | MembershipEnded
)
