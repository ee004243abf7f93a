"""The shapes of Clerk's webhook bodies, as far as they are needed.

Read leniently: a key that is not named here may hold anything, and only what no fact can do without is required. Keys
that Clerk's documentation calls required are often missing, null or different in real bodies.
"""

from typing import Any

import msgspec

Time = int | float | None
"""A time in milliseconds; in some bodies in seconds."""


class TypeOnly(msgspec.Struct):
    """The part of an envelope that tells whether the event is ours."""

    type: str


class Envelope(msgspec.Struct):
    """What surrounds the data of every event."""

    type: str
    data: msgspec.Raw
    timestamp: Time = None
    instance_id: Any = None


class IdOnly(msgspec.Struct):
    """A user, or the stub of something deleted."""

    id: str


class OrganizationBody(msgspec.Struct):
    """An organization, at the top or nested in a membership."""

    id: str
    name: str | None = None
    slug: str | None = None
    image_url: str | None = None
    created_at: Time = None
    updated_at: Time = None


class PublicUserData(msgspec.Struct):
    """The user of a membership."""

    user_id: str


class MembershipBody(msgspec.Struct):
    """A membership. A deletion carries the whole object too."""

    id: str
    organization: OrganizationBody
    public_user_data: PublicUserData
    role: str | None = None
    created_at: Time = None
    updated_at: Time = None
