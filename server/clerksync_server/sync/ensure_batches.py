"""Makes the profiles that Ensure calls miss at the same time in one transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import structlog

from clerksync_server.database.connection import COMMAND_TIMEOUT_S, Database
from clerksync_server.database.errors import HeldUp, describe
from clerksync_server.database.facts import take_locks, try_locks
from clerksync_server.database.profiles import (
    Obstacles,
    Pair,
    UserProfileRow,
    insert_provisional_profiles,
    locks_of_pairs,
    read_user_profiles,
)
from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable, Overloaded
from clerksync_server.sync.coalescing import Coalescer
from clerksync_server.sync.room import Room

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection
    from clerksync_server.database.dedicated import DedicatedConnection

_log = structlog.get_logger(__name__)
_TURNS = 100
"""Of the event loop, before a batch leaves: as for look-ups."""
PATIENCE_S = COMMAND_TIMEOUT_S
"""For all that an Ensure call waits for, from its arrival: turns, connections, locks, and statements."""
_LANES = 1
_MOST = 64
_MOST_WAITING = 20_000
"""Profiles: twenty of the largest batches, all of whose users are new."""
_LOCK_TIMEOUT_S = 1
"""Many times what another batch takes. Whoever holds a row for longer is no batch, and may hold it for very long."""
_STATEMENT_TIMEOUT_S = 2
"""In case a trigger of the application's takes long over one row of many."""
_PAIRS_A_TRANSACTION_APART = 16
"""Each takes three locks, and Postgres has room for 64 a connection: so all connections may do this at once."""
_APART = None


@dataclass(frozen=True, slots=True)
class EnsuredProfile:
    """The profile, and whether this call made it."""

    profile: UserProfileRow
    created: bool


Standing: TypeAlias = EnsuredProfile | Obstacles | DatabaseRefused
"""What became of a pair: there, made or found; what speaks against it; or refused by the application's database."""


@dataclass(frozen=True, slots=True)
class _Missing:
    pair: Pair
    evidence_at: datetime


class EnsureBatches:
    """No profile holds up or fails the others.

    What would have to wait for a lock is left out and made apart, in a transaction that waits. If the transaction is
    refused, it is tried in halves, until the one that is to blame is alone.
    """

    def __init__(self, database: Database, *, oldest: Callable[[], datetime]) -> None:
        """`oldest` tells the oldest evidence that counts now."""
        self._database = database
        self._oldest = oldest
        self._lanes = [database.dedicated("misses") for _ in range(_LANES)]
        self._coalescer: Coalescer[_Missing, EnsuredProfile | Obstacles | None] = Coalescer(
            self._make_together,
            lanes=_LANES,
            most=_MOST,
            room=Room(_MOST_WAITING),
            group_of=lambda missing: missing.pair[1],
            turns=_TURNS,
            patience_s=PATIENCE_S,
        )

    async def make(self, pair: Pair, evidence_at: datetime) -> EnsuredProfile | Obstacles:
        """Makes the profile unless something speaks against it.

        Raises DatabaseRefused, DatabaseUnavailable or Overloaded.
        """
        made = await self._coalescer.ask(_Missing(pair, evidence_at))
        if made is not _APART:
            return made
        standing = (await self._make_apart({pair: evidence_at}))[pair]
        if isinstance(standing, DatabaseRefused):
            raise standing
        return standing

    async def make_all(self, evidence: Mapping[Pair, datetime]) -> dict[Pair, Standing]:
        """As `make`, for several; `evidence` has the time that is proved for each.

        Raises DatabaseUnavailable or Overloaded; either concerns all of them.
        """
        asked = [_Missing(pair, evidence_at) for pair, evidence_at in evidence.items()]
        standings: dict[Pair, Standing] = {}
        apart: list[Pair] = []
        submitted = [self._coalescer.submit(missing) for missing in asked]
        if failures := [each.exception() for each in submitted if each.done()]:
            # There is no room for all of them, which is told at once and not when the others have been made.
            for each in submitted:
                each.cancel()
            raise failures[0] or Overloaded
        answers = await asyncio.gather(*submitted, return_exceptions=True)
        for pair, made in zip(evidence, answers, strict=True):
            if made is _APART:
                apart.append(pair)
            elif isinstance(made, BaseException) and not isinstance(made, DatabaseRefused):
                raise made
            else:
                standings[pair] = made
        for start in range(0, len(apart), _PAIRS_A_TRANSACTION_APART):
            pairs = apart[start : start + _PAIRS_A_TRANSACTION_APART]
            standings |= await self._make_apart({pair: evidence[pair] for pair in pairs})
        return standings

    async def _make_together(
        self, asked: "Sequence[_Missing]"
    ) -> "Sequence[EnsuredProfile | Obstacles | Exception | None]":
        """Of those who ask for one pair the one with the latest evidence speaks for it, and is told if it was made."""
        speakers = latest_of_each(
            [missing.pair for missing in asked],
            {index: missing.evidence_at for index, missing in enumerate(asked)},
        )
        lane = self._lanes.pop()
        try:
            made = await self._halving(lane, {pair: asked[index].evidence_at for pair, index in speakers.items()})
        finally:
            self._lanes.append(lane)
        return [
            replace(answer, created=False)
            if isinstance(answer := made.get(missing.pair, _APART), EnsuredProfile) and speakers[missing.pair] != index
            else answer
            for index, missing in enumerate(asked)
        ]

    async def _halving(
        self, lane: "DedicatedConnection", evidence: Mapping[Pair, datetime]
    ) -> "dict[Pair, EnsuredProfile | Obstacles | Exception]":
        """What has to be made apart is not among what it returns. Raises DatabaseUnavailable."""

        async def work(connection: "Connection") -> dict[Pair, EnsuredProfile | Obstacles]:
            return await _make_what_is_free(connection, evidence, oldest=self._oldest())

        try:
            return {
                **await lane.transaction(work, lock_timeout_s=_LOCK_TIMEOUT_S, statement_timeout_s=_STATEMENT_TIMEOUT_S)
            }
        except DatabaseUnavailable:
            raise
        except HeldUp as error:
            _log.info("a batch is made one by one", size=len(evidence), error=describe(error.__cause__ or error))
            return {}
        except Exception as error:  # noqa: BLE001
            if len(evidence) == 1:
                return dict.fromkeys(evidence, error)
        items = list(evidence.items())
        middle = len(items) // 2
        return await self._halving(lane, dict(items[:middle])) | await self._halving(lane, dict(items[middle:]))

    async def _make_apart(self, evidence: Mapping[Pair, datetime]) -> dict[Pair, Standing]:
        """In one transaction, which waits for whoever holds a lock; if one is refused, in one for each."""

        async def work(connection: "Connection") -> dict[Pair, EnsuredProfile | Obstacles]:
            await take_locks(connection, locks_of_pairs(evidence))
            return await _make(connection, evidence, oldest=self._oldest())

        try:
            return {**await self._database.transaction(work)}
        except DatabaseRefused as error:
            if len(evidence) == 1:
                return dict.fromkeys(evidence, error)
        standings: dict[Pair, Standing] = {}
        for pair, evidence_at in evidence.items():
            standings |= await self._make_apart({pair: evidence_at})
        return standings


def latest_of_each(pairs: Sequence[Pair], evidence: Mapping[int, datetime] | Mapping[int, int]) -> dict[Pair, int]:
    """For each pair the index of its latest evidence, and of the first of these if several are equally late."""
    latest: dict[Pair, int] = {}
    # Sorting keeps equals in their order.
    for index in sorted(evidence, key=evidence.__getitem__, reverse=True):
        latest.setdefault(pairs[index], index)
    return latest


async def _make_what_is_free(
    connection: "Connection", evidence: Mapping[Pair, datetime], *, oldest: datetime
) -> dict[Pair, EnsuredProfile | Obstacles]:
    """Makes those of which nobody else holds a lock."""
    held = await try_locks(connection, dict(locks_of_pairs(evidence)))
    if held:
        evidence = {
            pair: evidence_at
            for pair, evidence_at in evidence.items()
            if held.isdisjoint(name for name, _ in locks_of_pairs([pair]))
        }
    return await _make(connection, evidence, oldest=oldest) if evidence else {}


async def _make(
    connection: "Connection", evidence: Mapping[Pair, datetime], *, oldest: datetime
) -> dict[Pair, EnsuredProfile | Obstacles]:
    inserted = await insert_provisional_profiles(connection, evidence, oldest=oldest)
    made: dict[Pair, EnsuredProfile | Obstacles] = {
        pair: row if isinstance(row, Obstacles) else EnsuredProfile(row, created=True) for pair, row in inserted.items()
    }
    if left_out := [pair for pair, row in inserted.items() if isinstance(row, Obstacles)]:
        # Somebody else may have made them since we looked.
        existing = await read_user_profiles(connection, left_out)
        made |= {pair: EnsuredProfile(profile, created=False) for pair, profile in existing.items()}
    return made
