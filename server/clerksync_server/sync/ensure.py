"""Ensure: makes the profile or the organization that a late or lost webhook left out."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from clerksync_server.clock import milliseconds_of, timestamp_of, utc_now
from clerksync_server.database.connection import Database
from clerksync_server.database.profiles import (
    Obstacles,
    OrganizationRow,
    UserProfileRow,
    insert_placeholder_organization,
    insert_provisional_profile,
    is_organization_deleted,
    read_organization,
    read_user_profile,
)
from clerksync_server.errors import InvalidFields, Refused
from clerksync_server.rules.evidence import (
    EvidencePolicy,
    Verdict,
    judge_organization,
    judge_profile,
)

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_FUTURE_LIMIT_MS = 24 * 60 * 60 * 1000
"""A token from later than this is no matter of clocks: somebody passed milliseconds for seconds."""


@dataclass(frozen=True, slots=True)
class EnsuredProfile:
    """The profile, and whether this call made it."""

    profile: UserProfileRow
    created: bool


@dataclass(frozen=True, slots=True)
class EnsuredOrganization:
    """The organization, and whether this call made it."""

    organization: OrganizationRow
    created: bool


class Ensure:
    """Answers Ensure calls. Never overwrites, and never brings back who was removed: then it raises Refused."""

    def __init__(self, database: Database, policy: EvidencePolicy, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._policy = policy
        self._now = now

    async def user_profile(
        self, clerk_user_id: str, clerk_org_id: str, token_issued_at: datetime | None
    ) -> EnsuredProfile:
        evidence_ms, oldest_ms = self._evidence(token_issued_at)
        async with self._database.connection() as connection:
            if (profile := await read_user_profile(connection, clerk_user_id, clerk_org_id)) is not None:
                return EnsuredProfile(profile, created=False)

        async def work(connection: "Connection") -> tuple[UserProfileRow | None, UserProfileRow | None, Obstacles]:
            created, obstacles = await insert_provisional_profile(
                connection,
                clerk_user_id,
                clerk_org_id,
                evidence_at=timestamp_of(evidence_ms),
                oldest=timestamp_of(oldest_ms),
            )
            existing = None
            if created is None:
                # Somebody else may have made it since we looked.
                existing = await read_user_profile(connection, clerk_user_id, clerk_org_id)
            return created, existing, obstacles

        created, existing, obstacles = await self._database.transaction(work)
        if created is not None:
            return EnsuredProfile(created, created=True)
        if existing is not None:
            return EnsuredProfile(existing, created=False)
        raise Refused(
            judge_profile(
                exists=False,
                user_deleted=obstacles.user_deleted,
                organization_deleted=obstacles.organization_deleted,
                removed_at_ms=None if obstacles.removed_at is None else milliseconds_of(obstacles.removed_at),
                evidence_ms=milliseconds_of(obstacles.evidence_at),
                oldest_ms=oldest_ms,
            )
        )

    async def organization(self, clerk_org_id: str, token_issued_at: datetime | None) -> EnsuredOrganization:
        evidence_ms, oldest_ms = self._evidence(token_issued_at)
        async with self._database.connection() as connection:
            if (organization := await read_organization(connection, clerk_org_id)) is not None:
                return EnsuredOrganization(organization, created=False)
            deleted = await is_organization_deleted(connection, clerk_org_id)
        verdict = judge_organization(exists=False, deleted=deleted, evidence_ms=evidence_ms, oldest_ms=oldest_ms)
        if verdict is not Verdict.CREATE:
            raise Refused(verdict)

        async def work(connection: "Connection") -> tuple[bool, OrganizationRow | None]:
            created = await insert_placeholder_organization(connection, clerk_org_id)
            return created, await read_organization(connection, clerk_org_id)

        created, organization = await self._database.transaction(work)
        if organization is None:
            raise Refused(Verdict.ORGANIZATION_DELETED)
        return EnsuredOrganization(organization, created=created)

    def _evidence(self, token_issued_at: datetime | None) -> tuple[int, int]:
        now_ms = milliseconds_of(self._now())
        issued_at_ms = None if token_issued_at is None else milliseconds_of(token_issued_at)
        if issued_at_ms is not None and issued_at_ms > now_ms + _FUTURE_LIMIT_MS:
            raise InvalidFields(
                {"token_issued_at": "lies more than a day in the future; send the token's iat, which counts seconds"}
            )
        evidence_ms = self._policy.evidence_ms(now_ms=now_ms, token_issued_at_ms=issued_at_ms)
        return evidence_ms, self._policy.oldest_ms(now_ms=now_ms)
