"""Reads the log of removals by positions, which are snapshots of Postgres."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from clerksync_server.database.sql import load_queries

if TYPE_CHECKING:
    from clerksync_server.database.statements import Statements

_SQL = load_queries("removals.sql")
_MAX_AGE_MS = 15 * 60 * 1000
"""Well below the time for which the log is kept."""
_MAX_LENGTH = 64 * 1024
_POSITION = re.compile(r"(\d{1,15})/([0-9a-f-]{36})/(\d{1,18}):(\d{1,18}):((?:\d{1,18}(?:,\d{1,18})*)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Removal:
    """A profile that went away; without an organization all of the user's, without a user all of the organization's."""

    clerk_user_id: str | None
    clerk_org_id: str | None


@dataclass(frozen=True, slots=True)
class Position:
    """A moment: which transactions had been committed then. Opaque to callers, as text."""

    epoch: str
    snapshot: str
    time_ms: int
    """By the clock of Postgres."""

    def __str__(self) -> str:
        return f"{self.time_ms}/{self.epoch}/{self.snapshot}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None if this is no position; Postgres would refuse the statement."""
        if len(text) > _MAX_LENGTH or (parts := _POSITION.fullmatch(text)) is None:
            return None
        time_ms, epoch, xmin, xmax, in_progress = parts.groups()
        numbers = [int(xmin), *(int(number) for number in in_progress.split(",") if number)]
        if numbers[0] == 0 or numbers != sorted(numbers) or (in_progress and numbers[-1] >= int(xmax)):
            return None
        return None if int(xmin) > int(xmax) else cls(epoch, f"{xmin}:{xmax}:{in_progress}", int(time_ms))


@dataclass(frozen=True, slots=True)
class Reading:
    """The present, and what was removed since the position asked about, if that is known."""

    position: Position
    is_known: bool
    removals: tuple[Removal, ...]


async def read_removals(connection: "Statements", since: Position | None) -> Reading:
    """Reads what was removed since a position, of this replica or another; without one, only where the present is."""
    asked = (None, None, None) if since is None else (since.epoch, since.snapshot, since.time_ms)
    row = await connection.fetchrow(_SQL["read_removals"], *asked, _MAX_AGE_MS)
    assert row is not None
    if row["epoch"] is None:
        await connection.execute(_SQL["begin_epoch"])
        return await read_removals(connection, since)
    users, orgs = row["clerk_user_ids"] or [], row["clerk_org_ids"] or []
    return Reading(
        position=Position(row["epoch"], row["snapshot"], row["time_ms"]),
        is_known=row["is_known"],
        removals=tuple(map(Removal, users, orgs)),
    )
