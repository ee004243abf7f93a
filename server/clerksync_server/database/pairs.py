"""Reads all that is known of a pair (user, organization)."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from clerksync_server.database.sql import load_queries

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_SQL = load_queries("explain.sql")


@dataclass(frozen=True, slots=True)
class PairRow:
    """What is known of a pair beside its profile; None is what is not known."""

    membership_created_at: datetime | None
    membership_updated_at: datetime | None
    membership_event_at: datetime | None
    evidence_at: datetime | None
    through_created_at: datetime | None
    through_membership_id: str | None
    removed_at: datetime | None
    user_deleted_at: datetime | None
    organization_deleted_at: datetime | None


async def read_pair(connection: "Connection", clerk_user_id: str, clerk_org_id: str) -> PairRow:
    row = await connection.fetchrow(_SQL["read_pair"], clerk_user_id, clerk_org_id)
    assert row is not None
    return PairRow(**dict(row))
