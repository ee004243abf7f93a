"""Reads profiles and organizations, and makes what Ensure finds missing."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from clerksync_server.database.facts import (
    Lock,
    organization_lock,
    pair_lock,
    take_locks,
    user_lock,
)
from clerksync_server.database.sql import load_queries

if TYPE_CHECKING:
    import asyncpg

    from clerksync_server.database.connection import Connection

_SQL = load_queries("ensure.sql")
_FACTS_SQL = load_queries("facts.sql")
Pair: TypeAlias = tuple[str, str]
"""Clerk's ids of a user and of an organization."""


class UserProfileRow(NamedTuple):
    """A row of user_profile. Provisional while `clerk_membership_id` is None. Times in microseconds since the epoch."""

    id: str
    clerk_user_id: str
    clerk_org_id: str
    role: str | None
    clerk_membership_id: str | None
    created_us: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class OrganizationRow:
    """A row of organization."""

    id: str
    clerk_org_id: str
    name: str
    slug: str | None
    image_url: str | None
    is_placeholder: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What speaks against making a profile."""

    user_deleted: bool
    organization_deleted: bool
    removed_at: datetime | None
    evidence_at: datetime
    """What the call's evidence came to."""
    oldest: datetime
    """The oldest evidence that counted."""


class Reader(Protocol):
    """Runs a query that reads: a connection of the pool, or one of its own."""

    async def fetch(self, query: str, *arguments: object) -> "Sequence[asyncpg.Record]": ...


async def read_user_profile(reader: "Reader | Connection", pair: Pair) -> UserProfileRow | None:
    return (await find_user_profiles(reader, [pair]))[0]


async def find_user_profiles(reader: "Reader | Connection", pairs: Sequence[Pair]) -> list[UserProfileRow | None]:
    """The profile of each pair, in their order, None where there is none; in one round trip."""
    if len(pairs) == 1:
        rows = await reader.fetch(_SQL["read_user_profile"], *pairs[0])
    else:
        rows = await reader.fetch(_SQL["read_user_profiles"], *_columns(pairs))
    profiles: list[UserProfileRow | None] = [None] * len(pairs)
    for number, profile_id, role, clerk_membership_id, created_us, updated_us in rows:
        clerk_user_id, clerk_org_id = pairs[number - 1]
        profiles[number - 1] = UserProfileRow(
            profile_id, clerk_user_id, clerk_org_id, role, clerk_membership_id, created_us, updated_us
        )
    return profiles


async def read_user_profiles(reader: "Reader | Connection", pairs: Collection[Pair]) -> dict[Pair, UserProfileRow]:
    """The profiles that are there, in one round trip."""
    profiles = await find_user_profiles(reader, list(pairs))
    return {pair: profile for pair, profile in zip(pairs, profiles, strict=True) if profile is not None}


def locks_of_pairs(pairs: Iterable[Pair]) -> set[Lock]:
    """What must not change while the profiles are made."""
    locks: set[Lock] = set()
    for clerk_user_id, clerk_org_id in pairs:
        locks |= {organization_lock(clerk_org_id), user_lock(clerk_user_id), pair_lock(clerk_user_id, clerk_org_id)}
    return locks


async def insert_provisional_profiles(
    connection: "Connection", evidence: Mapping[Pair, datetime], *, oldest: datetime
) -> dict[Pair, UserProfileRow | Obstacles]:
    """Inserts the profiles that are missing and that nothing speaks against; what was not inserted has its obstacles.

    `evidence` has the time that is proved for each pair. Their locks must be held.
    """
    rows = await connection.fetch(
        _SQL["insert_provisional_profiles"], *_columns(evidence), list(evidence.values()), oldest
    )
    return {
        (row["clerk_user_id"], row["clerk_org_id"]): (
            _obstacles(row, oldest) if row["id"] is None else _user_profile(row)
        )
        for row in rows
    }


async def read_organization(connection: "Connection", clerk_org_id: str) -> OrganizationRow | None:
    return (await read_organizations(connection, [clerk_org_id])).get(clerk_org_id)


async def read_organizations(reader: "Reader", clerk_org_ids: Collection[str]) -> dict[str, OrganizationRow]:
    """The organizations that are there, by Clerk's ids, in one round trip."""
    rows = await reader.fetch(_SQL["read_organizations"], list(clerk_org_ids))
    return {row["clerk_org_id"]: OrganizationRow(**dict(row)) for row in rows}


async def insert_placeholder_organization(connection: "Connection", clerk_org_id: str) -> bool:
    """Inserts a placeholder if the organization is missing and was not deleted; returns whether it did."""
    await take_locks(connection, {organization_lock(clerk_org_id)})
    return bool(await connection.fetchval(_FACTS_SQL["insert_placeholder_organization"], clerk_org_id))


async def is_organization_deleted(connection: "Connection", clerk_org_id: str) -> bool:
    return bool(await connection.fetchval(_FACTS_SQL["is_deleted"], "organization", clerk_org_id))


def _user_profile(row: "asyncpg.Record") -> UserProfileRow:
    return UserProfileRow(**{name: row[name] for name in UserProfileRow._fields})


def _obstacles(row: "asyncpg.Record", oldest: datetime) -> Obstacles:
    return Obstacles(
        user_deleted=row["user_deleted"],
        organization_deleted=row["organization_deleted"],
        removed_at=row["removed_at"],
        evidence_at=row["evidence_at"],
        oldest=oldest,
    )


def _columns(pairs: Collection[Pair]) -> tuple[list[str], list[str]]:
    return [clerk_user_id for clerk_user_id, _ in pairs], [clerk_org_id for _, clerk_org_id in pairs]
