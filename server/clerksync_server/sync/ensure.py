"""Ensure: makes the profile or the organization that a late or lost webhook left out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from clerksync_server.clock import milliseconds_of, timestamp_of, utc_now
from clerksync_server.database.connection import Database
from clerksync_server.database.profiles import (
    Obstacles,
    OrganizationRow,
    Pair,
    UserProfileRow,
    insert_placeholder_organization,
    insert_provisional_profiles,
    is_organization_deleted,
    read_organization,
    read_user_profiles,
)
from clerksync_server.errors import ClerksyncError, DatabaseRefused, InvalidFields, Refused
from clerksync_server.rules.evidence import (
    EvidencePolicy,
    Verdict,
    judge_organization,
    judge_profile,
)
from clerksync_server.sync.coalescing import Coalescer

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_FUTURE_LIMIT_MS = 24 * 60 * 60 * 1000
"""A token from later than this is no matter of clocks: somebody passed milliseconds for seconds."""
_LOOKUP_LANES = 1
"""Connections for look-ups. With two the batches were smaller, and a call cost a tenth more CPU."""
_LOOKUPS_AT_ONCE = 1000
_PAIRS_A_TRANSACTION = 16
"""Each takes three locks, and Postgres has room for 64 a connection: so all connections may do this at once."""


@dataclass(frozen=True, slots=True)
class EnsuredProfile:
    """The profile, and whether this call made it."""

    profile: UserProfileRow
    created: bool


_Standing: TypeAlias = EnsuredProfile | Obstacles | DatabaseRefused
"""What became of a pair: there, made or found; what speaks against it; or refused by the application's database."""


@dataclass(frozen=True, slots=True)
class EnsuredOrganization:
    """The organization, and whether this call made it."""

    organization: OrganizationRow
    created: bool


@dataclass(frozen=True, slots=True)
class Sighting:
    """Who was seen, signed in to which organization, and when the token was issued, if that is known."""

    clerk_user_id: str
    clerk_org_id: str
    token_issued_at: datetime | None

    @property
    def pair(self) -> Pair:
        return self.clerk_user_id, self.clerk_org_id


class Ensure:
    """Answers Ensure calls. Never overwrites, and never brings back who was removed: that is Refused."""

    def __init__(self, database: Database, policy: EvidencePolicy, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._policy = policy
        self._now = now
        self._readers = [database.dedicated("lookups") for _ in range(_LOOKUP_LANES)]
        self._lookups: Coalescer[Pair, UserProfileRow | None] = Coalescer(
            self._look_up, lanes=_LOOKUP_LANES, most=_LOOKUPS_AT_ONCE, group_of=lambda pair: pair[1]
        )

    async def user_profile(self, sighting: Sighting) -> EnsuredProfile:
        """Raises Refused, InvalidFields or DatabaseUnavailable."""
        self._evidence_ms(sighting.token_issued_at, milliseconds_of(self._now()))
        profile = await self._lookups.ask(sighting.pair)
        if profile is not None:
            return EnsuredProfile(profile, created=False)
        (outcome,) = await self.user_profiles([sighting])
        if isinstance(outcome, ClerksyncError):
            raise outcome
        return outcome

    async def _look_up(self, pairs: Sequence[Pair]) -> "list[UserProfileRow | None]":
        """One statement for all who wait, by a connection that waits for no lock and no transaction."""
        reader = self._readers.pop()
        try:
            profiles = await read_user_profiles(reader, set(pairs))
        finally:
            self._readers.append(reader)
        return [profiles.get(pair) for pair in pairs]

    async def user_profiles(self, sightings: Sequence[Sighting]) -> list[EnsuredProfile | ClerksyncError]:
        """An outcome for each, in their order; an error concerns that one alone. Raises DatabaseUnavailable.

        Of several sightings of a pair the one with the latest evidence speaks for it, and is told if the profile was
        created; where that is refused, each is judged by its own evidence.
        """
        now_ms = milliseconds_of(self._now())
        oldest_ms = self._policy.oldest_ms(now_ms=now_ms)
        evidence: dict[int, int] = {}
        outcomes: dict[int, EnsuredProfile | ClerksyncError] = {}
        for index, sighting in enumerate(sightings):
            try:
                evidence[index] = self._evidence_ms(sighting.token_issued_at, now_ms)
            except InvalidFields as error:
                outcomes[index] = error
        speakers: dict[Pair, int] = {}
        # Among equals the first stays the first.
        for index in sorted(evidence, key=evidence.__getitem__, reverse=True):
            speakers.setdefault(sightings[index].pair, index)
        standings = await self._standings(
            {pair: timestamp_of(evidence[index]) for pair, index in speakers.items()}, timestamp_of(oldest_ms)
        )
        for index, evidence_ms in evidence.items():
            standing = standings[pair := sightings[index].pair]
            if isinstance(standing, Obstacles):
                outcomes[index] = _refusal(standing, evidence_ms, oldest_ms)
            elif isinstance(standing, EnsuredProfile) and speakers[pair] != index:
                outcomes[index] = replace(standing, created=False)
            else:
                outcomes[index] = standing
        return [outcomes[index] for index in range(len(sightings))]

    async def _standings(self, evidence: Mapping[Pair, datetime], oldest: datetime) -> dict[Pair, _Standing]:
        if not evidence:
            return {}
        async with self._database.connection() as connection:
            profiles = await read_user_profiles(connection, evidence.keys())
        standings: dict[Pair, _Standing] = {
            pair: EnsuredProfile(profile, created=False) for pair, profile in profiles.items()
        }
        missing = [pair for pair in evidence if pair not in standings]
        for start in range(0, len(missing), _PAIRS_A_TRANSACTION):
            pairs = missing[start : start + _PAIRS_A_TRANSACTION]
            standings |= await self._make({pair: evidence[pair] for pair in pairs}, oldest)
        return standings

    async def _make(self, evidence: Mapping[Pair, datetime], oldest: datetime) -> dict[Pair, _Standing]:
        """Makes the profiles that are missing, in one transaction; if one of them is refused by the database, apart."""

        async def work(connection: "Connection") -> dict[Pair, _Standing]:
            inserted = await insert_provisional_profiles(connection, evidence, oldest=oldest)
            standings: dict[Pair, _Standing] = {
                pair: row if isinstance(row, Obstacles) else EnsuredProfile(row, created=True)
                for pair, row in inserted.items()
            }
            if left_out := [pair for pair, row in inserted.items() if isinstance(row, Obstacles)]:
                # Somebody else may have made them since we looked.
                existing = await read_user_profiles(connection, left_out)
                standings |= {pair: EnsuredProfile(profile, created=False) for pair, profile in existing.items()}
            return standings

        try:
            return await self._database.transaction(work)
        except DatabaseRefused as error:
            if len(evidence) == 1:
                return dict.fromkeys(evidence, error)
            standings: dict[Pair, _Standing] = {}
            for pair, evidence_at in evidence.items():
                standings |= await self._make({pair: evidence_at}, oldest)
            return standings

    async def organization(self, clerk_org_id: str, token_issued_at: datetime | None) -> EnsuredOrganization:
        now_ms = milliseconds_of(self._now())
        evidence_ms, oldest_ms = self._evidence_ms(token_issued_at, now_ms), self._policy.oldest_ms(now_ms=now_ms)
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

    def _evidence_ms(self, token_issued_at: datetime | None, now_ms: int) -> int:
        issued_at_ms = None if token_issued_at is None else milliseconds_of(token_issued_at)
        if issued_at_ms is not None and issued_at_ms > now_ms + _FUTURE_LIMIT_MS:
            raise InvalidFields(
                {"token_issued_at": "lies more than a day in the future; send the token's iat, which counts seconds"}
            )
        return self._policy.evidence_ms(now_ms=now_ms, token_issued_at_ms=issued_at_ms)


def _refusal(obstacles: Obstacles, evidence_ms: int, oldest_ms: int) -> ClerksyncError:
    verdict = judge_profile(
        exists=False,
        user_deleted=obstacles.user_deleted,
        organization_deleted=obstacles.organization_deleted,
        removed_at_ms=None if obstacles.removed_at is None else milliseconds_of(obstacles.removed_at),
        # Postgres's clock has bounded the latest evidence, and so bounds any other.
        evidence_ms=min(evidence_ms, milliseconds_of(obstacles.evidence_at)),
        oldest_ms=oldest_ms,
    )
    if verdict is Verdict.CREATE:
        return DatabaseRefused("nothing was inserted: a trigger may have left the row out")
    return Refused(verdict)
