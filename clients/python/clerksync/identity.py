"""Who is signed in, and to which organization, as Clerk's session token tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """A user who is signed in with an organization active."""

    clerk_user_id: str
    clerk_org_id: str
    token_issued_at: datetime | None = None
    """When Clerk issued the token (claim `iat`); pass it whenever it is known."""
    session_token: str | None = field(default=None, repr=False)
    """The token itself, where SyncService is to verify it (docs/clients.md). Never shown."""


def identity_from_claims(claims: Mapping[str, Any] | None) -> Identity | None:
    """Reads the claims of a session token that has been VERIFIED; None without a user or an active organization.

    Understands version 2 of Clerk's tokens (`o.id`) and version 1 (`org_id`). What is ill-formed counts as absent.
    Source: Clerk's guide to session tokens.
    """
    if not isinstance(claims, Mapping):
        return None
    user = claims.get("sub")
    active = claims.get("o")
    organization = active.get("id") if isinstance(active, Mapping) else claims.get("org_id")
    if not (isinstance(user, str) and user and isinstance(organization, str) and organization):
        return None
    return Identity(user, organization, _moment(claims.get("iat")))


def _moment(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None
