"""What Clerk knows at a moment, and what it tells about it."""

from dataclasses import dataclass

Pair = tuple[str, str]
"""(user, organization)."""
Content = tuple[str, str | None, str | None]
"""What an organization shows: name, slug, image_url."""


@dataclass(frozen=True)
class User:
    """A user as of a moment."""

    id: str
    first_name: str | None
    created_at_ms: int
    updated_at_ms: int


@dataclass(frozen=True)
class Organization:
    """An organization as of a moment. `revision` counts its changes: the true order, whatever the times say."""

    id: str
    content: Content
    created_by: str
    created_at_ms: int
    updated_at_ms: int
    revision: int = 0


@dataclass(frozen=True)
class Membership:
    """A membership as of a moment.

    `life` counts how often the user has joined, `revision` the changes within that life: the true order again.
    """

    id: str
    pair: Pair
    role: str
    life: int
    created_at_ms: int
    updated_at_ms: int
    revision: int = 0

    @property
    def user(self) -> str:
        return self.pair[0]

    @property
    def organization(self) -> str:
        return self.pair[1]


@dataclass(frozen=True)
class Event:
    """Something that happened, as Clerk tells it: the envelope's type and time, and whom it is about, as of then.

    A membership's event has both a membership and an organization, which is nested in it.
    """

    type: str
    at_ms: int
    envelope_ms: int
    body: bytes
    user: User | None = None
    organization: Organization | None = None
    membership: Membership | None = None

    @property
    def deletion(self) -> bool:
        return self.type.endswith(".deleted")


@dataclass(frozen=True)
class Token:
    """A session token of a user with an active organization."""

    pair: Pair
    issued_at_s: int

    LIFE_MS = 60_000

    @property
    def expires_at_ms(self) -> int:
        return self.issued_at_s * 1000 + self.LIFE_MS
