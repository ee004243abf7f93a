"""Ensure: makes the profile or the organization that a late or lost webhook left out."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from clerksync_server.clock import milliseconds_of, timestamp_of, utc_now
from clerksync_server.database.connection import Database
from clerksync_server.database.profiles import (
    Obstacles,
    OrganizationRow,
    Pair,
    UserProfileRow,
    find_user_profiles,
    insert_placeholder_organization,
    is_organization_deleted,
    read_organization,
    read_organizations,
)
from clerksync_server.errors import ClerksyncError, DatabaseRefused, DatabaseUnavailable, InvalidFields, Refused
from clerksync_server.rules.evidence import (
    EvidencePolicy,
    Verdict,
    judge_organization,
    judge_profile,
)
from clerksync_server.sync.coalescing import Coalescer, Work
from clerksync_server.sync.ensure_batches import PATIENCE_S, EnsureBatches, EnsuredProfile, latest_of_each
from clerksync_server.sync.room import Room

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection
    from clerksync_server.database.dedicated import DedicatedConnection

_FUTURE_LIMIT_MS = 24 * 60 * 60 * 1000
"""A token from later than this is no matter of clocks: somebody passed milliseconds for seconds."""
_TURNS = 100
"""Of the event loop, before a look-up leaves while many come. Postgres answers sooner than grpcio brings the next call:
with 64 in flight a call cost SyncService 300 us without them, and costs 195 with."""
_LOOKUPS_AT_ONCE = 1000
_MOST_LOOKUPS_WAITING = 10_000
"""Two seconds' worth of what one SyncService answers; whoever finds as many before it is told so at once."""
_MOST_WAITING_IN_BATCHES = 20_000
"""Pairs: twenty of the largest batches."""


@dataclass(frozen=True, slots=True)
class EnsuredOrganization:
    """The organization, and whether this call made it."""

    organization: OrganizationRow
    created: bool


class Sighting(NamedTuple):
    """Who was seen, signed in to which organization, and when the token was issued, if that is known."""

    clerk_user_id: str
    clerk_org_id: str
    issued_at_ms: int | None
    """Whole milliseconds since the epoch, rounded down."""

    @property
    def pair(self) -> Pair:
        return self.clerk_user_id, self.clerk_org_id


class Ensure:
    """Answers Ensure calls. Never overwrites, and never brings back who was removed: that is Refused."""

    def __init__(self, database: Database, policy: EvidencePolicy, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._policy = policy
        self._now = now
        self._lookups: Coalescer[Pair, UserProfileRow | None] = Coalescer(
            _reading_pairs(database.dedicated("lookups")),
            lanes=1,
            most=_LOOKUPS_AT_ONCE,
            room=Room(_MOST_LOOKUPS_WAITING),
            group_of=lambda pair: pair[1],
            turns=_TURNS,
            patience_s=PATIENCE_S,
        )
        # By a connection of their own: no lone call waits for one with a thousand.
        self._lookups_of_batches: Coalescer[Sequence[Pair], Sequence[UserProfileRow | None]] = Coalescer(
            _reading_batches(database.dedicated("lookups of batches")),
            lanes=1,
            most=_LOOKUPS_AT_ONCE,
            size_of=len,
            room=Room(_MOST_WAITING_IN_BATCHES),
            patience_s=PATIENCE_S,
        )
        self._lookups_of_organizations: Coalescer[str, OrganizationRow | None] = Coalescer(
            _reading_organizations(database.dedicated("lookups of organizations")),
            lanes=1,
            most=_LOOKUPS_AT_ONCE,
            room=Room(_MOST_LOOKUPS_WAITING),
            patience_s=PATIENCE_S,
        )
        self._batches = EnsureBatches(
            database, oldest=lambda: timestamp_of(policy.oldest_ms(now_ms=milliseconds_of(now())))
        )

    async def user_profile(self, sighting: Sighting) -> EnsuredProfile:
        """Raises Refused, InvalidFields, DatabaseRefused, DatabaseUnavailable or Overloaded."""
        began = time.monotonic()
        evidence_ms = self._evidence_ms(sighting.issued_at_ms, milliseconds_of(self._now()))
        profile = await self._lookups.submit(sighting.pair)
        if profile is not None:
            return EnsuredProfile(profile, created=False)
        async with _patience_since(began):
            made = await self._batches.make(sighting.pair, timestamp_of(evidence_ms))
        if isinstance(made, Obstacles):
            raise _refusal(made, evidence_ms)
        return made

    async def user_profiles(self, sightings: Sequence[Sighting]) -> list[EnsuredProfile | ClerksyncError]:
        """An outcome for each, in their order; an error concerns that one alone.

        Raises DatabaseUnavailable or Overloaded.

        Of several sightings of a pair the one with the latest evidence speaks for it, and is told if the profile was
        created; where that is refused, each is judged by its own evidence.
        """
        if not sightings:
            return []
        began, now_ms = time.monotonic(), milliseconds_of(self._now())
        evidence: dict[int, int] = {}
        outcomes: dict[int, EnsuredProfile | ClerksyncError] = {}
        profiles = await self._lookups_of_batches.ask([sighting.pair for sighting in sightings])
        for index, (sighting, profile) in enumerate(zip(sightings, profiles, strict=True)):
            try:
                evidence_ms = self._evidence_ms(sighting.issued_at_ms, now_ms)
            except InvalidFields as error:
                outcomes[index] = error
                continue
            if profile is None:
                evidence[index] = evidence_ms
            else:
                outcomes[index] = EnsuredProfile(profile, created=False)
        if evidence:
            async with _patience_since(began):
                outcomes |= await self._make_missing(sightings, evidence)
        return [outcomes[index] for index in range(len(sightings))]

    async def _make_missing(
        self, sightings: Sequence[Sighting], evidence: Mapping[int, int]
    ) -> dict[int, EnsuredProfile | ClerksyncError]:
        """`evidence` and the outcomes are by the index of the sighting."""
        speakers = latest_of_each([sighting.pair for sighting in sightings], evidence)
        standings = await self._batches.make_all(
            {pair: timestamp_of(evidence[index]) for pair, index in speakers.items()}
        )
        outcomes: dict[int, EnsuredProfile | ClerksyncError] = {}
        for index, evidence_ms in evidence.items():
            standing = standings[pair := sightings[index].pair]
            if isinstance(standing, Obstacles):
                outcomes[index] = _refusal(standing, evidence_ms)
            elif isinstance(standing, EnsuredProfile) and speakers[pair] != index:
                outcomes[index] = replace(standing, created=False)
            else:
                outcomes[index] = standing
        return outcomes

    async def organization(self, clerk_org_id: str, issued_at_ms: int | None) -> EnsuredOrganization:
        """Raises Refused, InvalidFields, DatabaseRefused, DatabaseUnavailable or Overloaded."""
        began, now_ms = time.monotonic(), milliseconds_of(self._now())
        evidence_ms, oldest_ms = self._evidence_ms(issued_at_ms, now_ms), self._policy.oldest_ms(now_ms=now_ms)
        organization = await self._lookups_of_organizations.ask(clerk_org_id)
        if organization is not None:
            return EnsuredOrganization(organization, created=False)
        async with _patience_since(began):
            return await self._make_organization(clerk_org_id, evidence_ms, oldest_ms)

    async def _make_organization(self, clerk_org_id: str, evidence_ms: int, oldest_ms: int) -> EnsuredOrganization:
        async with self._database.connection() as connection:
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

    def _evidence_ms(self, issued_at_ms: int | None, now_ms: int) -> int:
        if issued_at_ms is not None and issued_at_ms > now_ms + _FUTURE_LIMIT_MS:
            raise InvalidFields(
                {"token_issued_at": "lies more than a day in the future; send the token's iat, which counts seconds"}
            )
        return self._policy.evidence_ms(now_ms=now_ms, token_issued_at_ms=issued_at_ms)


@asynccontextmanager
async def _patience_since(began: float) -> AsyncIterator[None]:
    """Raises DatabaseUnavailable once a call has waited for too long; `began` is by the monotonic clock, in seconds.

    Look-ups, which all calls wait for, are bounded by their Coalescers, for less than a timer for each call costs.
    """
    try:
        async with asyncio.timeout(began + PATIENCE_S - time.monotonic()):
            yield
    except TimeoutError as error:
        raise DatabaseUnavailable("a call has waited for longer than it may") from error


def _reading_pairs(reader: "DedicatedConnection") -> "Work[Pair, UserProfileRow | None]":
    """One statement for all who wait, by a connection that waits for no lock and no transaction."""

    async def read(pairs: Sequence[Pair]) -> list[UserProfileRow | None]:
        return await find_user_profiles(reader, pairs)

    return read


def _reading_batches(reader: "DedicatedConnection") -> "Work[Sequence[Pair], Sequence[UserProfileRow | None]]":
    async def read(batches: Sequence[Sequence[Pair]]) -> list[Sequence[UserProfileRow | None]]:
        profiles = iter(await find_user_profiles(reader, list(chain.from_iterable(batches))))
        return [list(islice(profiles, len(batch))) for batch in batches]

    return read


def _reading_organizations(reader: "DedicatedConnection") -> "Work[str, OrganizationRow | None]":
    async def read(clerk_org_ids: Sequence[str]) -> list[OrganizationRow | None]:
        organizations = await read_organizations(reader, set(clerk_org_ids))
        return [organizations.get(clerk_org_id) for clerk_org_id in clerk_org_ids]

    return read


def _refusal(obstacles: Obstacles, evidence_ms: int) -> ClerksyncError:
    verdict = judge_profile(
        exists=False,
        user_deleted=obstacles.user_deleted,
        organization_deleted=obstacles.organization_deleted,
        removed_at_ms=None if obstacles.removed_at is None else milliseconds_of(obstacles.removed_at),
        # Postgres's clock has bounded the latest evidence, and so bounds any other.
        evidence_ms=min(evidence_ms, milliseconds_of(obstacles.evidence_at)),
        oldest_ms=milliseconds_of(obstacles.oldest),
    )
    if verdict is Verdict.CREATE:
        return DatabaseRefused("nothing was inserted: a trigger may have left the row out")
    return Refused(verdict)
