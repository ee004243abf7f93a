"""Applies the deliveries that wait at the same time in one transaction."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from clerksync_server.clerk.events import ClerkEvent
from clerksync_server.database.batches import Overtaken, join_facts
from clerksync_server.database.connection import Database
from clerksync_server.database.deliveries import (
    OUTCOMES,
    Claim,
    Judgement,
    Outcome,
    claim_deliveries,
    read_outcomes,
    settle_deliveries,
    settle_delivery,
    unclaim_deliveries,
)
from clerksync_server.database.errors import describe, noticing_locks
from clerksync_server.database.facts import join_fact, locks_of_all, try_locks
from clerksync_server.errors import DatabaseUnavailable
from clerksync_server.rules.decisions import Rule
from clerksync_server.rules.facts import Fact, OrganizationDeleted
from clerksync_server.sync.coalescing import Coalescer

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_log = structlog.get_logger(__name__)
_LANES = 2
_MOST = 32
"""Each takes at most three locks. Postgres has room for 64 for each connection that it allows, in one pool for all."""
_APART = None


@dataclass(frozen=True, slots=True)
class Received:
    """A delivery that has been read, and what the ledger says of it so far; no `event` if it was not understood."""

    claim: Claim
    event: ClerkEvent | None

    @property
    def ours(self) -> bool:
        return self.event is not None and self.event.ours

    @property
    def facts(self) -> tuple[Fact, ...]:
        return self.event.facts if self.event is not None and self.event.ours else ()

    @property
    def may_take_long(self) -> bool:
        """An organization takes all of its profiles along, and its lock excludes everybody meanwhile."""
        return any(isinstance(fact, OrganizationDeleted) for fact in self.facts)

    @property
    def group(self) -> Hashable:
        return self.claim.judgement.clerk_org_id or self.claim.judgement.clerk_user_id


class DeliveryBatches:
    """What cannot be applied together with others is given back, to be applied apart.

    No delivery holds up or fails the others: what would have to wait for a lock is left out, and if the transaction
    is refused, all are given back.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._coalescer: Coalescer[Received, Judgement | None] = Coalescer(
            self.apply_together, lanes=_LANES, most=_MOST, group_of=lambda delivery: delivery.group
        )

    async def apply(self, delivery: Received) -> Judgement | None:
        """Returns once it is committed; None if it has to be applied apart, and nothing came of it here."""
        return _APART if delivery.may_take_long else await self._coalescer.ask(delivery)

    async def apply_together(self, deliveries: Sequence[Received]) -> Sequence[Judgement | None]:
        """Applies them as if one after the other; what `apply` returns, for each. Raises DatabaseUnavailable."""

        async def work(connection: "Connection") -> Sequence[Judgement | None]:
            with noticing_locks():
                return await _apply_all(connection, deliveries)

        try:
            return await self._transaction(work)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001
            # One of them may be at fault, in whichever way. Apart it is told so, and the others go through.
            _log.info("a batch is applied one by one", size=len(deliveries), error=describe(error.__cause__ or error))
        return [_APART] * len(deliveries)

    async def _transaction(
        self, work: "Callable[[Connection], Awaitable[Sequence[Judgement | None]]]"
    ) -> Sequence[Judgement | None]:
        try:
            return await self._database.transaction(work)
        except Overtaken:
            # Now the rows are there that another transaction has made, and can be locked.
            return await self._database.transaction(work)


async def _apply_all(connection: "Connection", deliveries: Sequence[Received]) -> Sequence[Judgement | None]:
    firsts: dict[str, Received] = {}
    is_first = []
    for delivery in deliveries:
        is_first.append(delivery.claim.svix_id not in firsts)
        firsts.setdefault(delivery.claim.svix_id, delivery)
    claimed = await claim_deliveries(connection, [delivery.claim for delivery in firsts.values()])
    entered = {svix_id: delivery for svix_id, delivery in firsts.items() if svix_id in claimed}
    left_out = await _lock(connection, entered)
    rules = await _join(connection, {svix_id: entered[svix_id] for svix_id in entered if svix_id not in left_out})
    settled = {
        svix_id: _settled(delivery.claim.judgement, rules.get(svix_id))
        for svix_id, delivery in entered.items()
        if svix_id not in left_out
    }
    known = {svix_id: judgement.outcome for svix_id, judgement in settled.items()}
    if repeats := firsts.keys() - claimed:
        known |= await read_outcomes(connection, repeats)

    def answer(delivery: Received, *, first: bool) -> Judgement | None:
        svix_id = delivery.claim.svix_id
        if svix_id in left_out:
            return _APART
        if first and svix_id in settled:
            return settled[svix_id]
        if delivery.ours and known.get(svix_id) in (Outcome.QUARANTINED, Outcome.IGNORED):
            return _APART
        return replace(delivery.claim.judgement, outcome=Outcome.DUPLICATE)

    return [answer(delivery, first=first) for delivery, first in zip(deliveries, is_first, strict=True)]


async def _lock(connection: "Connection", entered: Mapping[str, Received]) -> set[str]:
    """Takes the locks of all facts; returns the deliveries that are left out because others hold one of theirs.

    Nobody waits here: what holds the lock may be the deletion of a large organization.
    """
    locks = {svix_id: locks_of_all(delivery.facts) for svix_id, delivery in entered.items()}
    if not any(locks.values()):
        return set()
    held = await try_locks(connection, locks_of_all(fact for delivery in entered.values() for fact in delivery.facts))
    left_out = {svix_id for svix_id, names in locks.items() if not held.isdisjoint(names)}
    if left_out:
        await unclaim_deliveries(connection, left_out)
    return left_out


async def _join(connection: "Connection", deliveries: Mapping[str, Received]) -> dict[str, Rule]:
    """Joins the facts of those that have any, notes in the ledger which rule decided about each, and returns that."""
    told = {svix_id: delivery.facts for svix_id, delivery in deliveries.items() if delivery.facts}
    if not told:
        return {}
    if len(told) == 1:
        # Its own statements decide as they write, in fewer round trips.
        ((svix_id, facts),) = told.items()
        rule = [await join_fact(connection, fact) for fact in facts][-1]
        judgement = _settled(deliveries[svix_id].claim.judgement, rule)
        await settle_delivery(connection, svix_id, judgement, facts_joined=True)
        return {svix_id: rule}
    rules = dict(zip(told, await join_facts(connection, list(told.values())), strict=True))
    await settle_deliveries(connection, rules)
    return rules


def _settled(judgement: Judgement, rule: Rule | None) -> Judgement:
    return judgement if rule is None else replace(judgement, outcome=OUTCOMES[rule.effect], rule=rule)
