"""Applies the deliveries that wait at the same time in one transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from clerksync_server.clerk.events import ClerkEvent
from clerksync_server.database.batches import Overtaken, join_facts, lock_and_recall
from clerksync_server.database.connection import Database
from clerksync_server.database.dedicated import DedicatedConnection
from clerksync_server.database.deliveries import (
    OUTCOMES,
    Entry,
    Judgement,
    Outcome,
    enter_deliveries,
)
from clerksync_server.database.errors import HeldUp, describe
from clerksync_server.database.facts import locks_of_all
from clerksync_server.database.statements import Statements
from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable
from clerksync_server.ops.logs import frames_of
from clerksync_server.rules.decisions import Rule
from clerksync_server.rules.facts import Fact, OrganizationDeleted
from clerksync_server.sync.coalescing import Coalescer
from clerksync_server.sync.room import Room

_log = structlog.get_logger(__name__)
_LANES = 1
"""Two take a fifth more CPU for each delivery, since their batches are half as large."""
_STUCK_AFTER_S = 0.05
_MOST_LANES = 3
"""Where a batch waits for somebody else's lock, others pass it."""
_MOST = 64
"""Each takes at most three locks; Postgres has room for 64 for each connection that it allows, in one pool for all."""
_LOCK_TIMEOUT_S = 1
"""Many times what another batch takes. Whoever holds a row for longer is no batch, and may hold it for very long."""
_STATEMENT_TIMEOUT_S = 2
"""For the statements of a batch, in case a trigger of the application's takes long over one row of many."""
MOST_BYTES = 16 * 1024 * 1024
_LEAST_BYTES = 8 * 1024
"""What each delivery counts for at least: so 2,048 may wait, and half as many of one organization, which is one call of
ApplyClerkEvents."""
_APART = None


@dataclass(frozen=True, slots=True)
class Received:
    """A delivery that has been read, and what is to be entered in the ledger; no `event` if it was not understood."""

    entry: Entry
    event: ClerkEvent | None
    size: int = 0
    """Of its body, in bytes."""

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
        return self.entry.judgement.clerk_org_id or self.entry.judgement.clerk_user_id

    @property
    def cost(self) -> int:
        """What it takes of a Room while it waits."""
        return max(self.size, _LEAST_BYTES)

    def judged(self, rule: Rule | None) -> Entry:
        """What is entered once the facts were joined, with the rule that decided; None where there were none."""
        if rule is None:
            return self.entry
        judgement = replace(self.entry.judgement, outcome=OUTCOMES[rule.effect], rule=rule)
        return replace(self.entry, judgement=judgement, facts_joined=True)


class DeliveryBatches:
    """What cannot be applied together with others is given back, to be applied apart.

    No delivery holds up or fails the others: what would have to wait for a lock is left out, and if the transaction
    is refused, all are given back.
    """

    def __init__(self, database: Database) -> None:
        self._connections = [database.dedicated("deliveries") for _ in range(_MOST_LANES)]
        self._coalescer: Coalescer[Received, Judgement | None] = Coalescer(
            self.apply_together,
            lanes=_LANES,
            most=_MOST,
            group_of=lambda delivery: delivery.group,
            stuck_after_s=_STUCK_AFTER_S,
            most_lanes=_MOST_LANES,
            room=Room(MOST_BYTES),
            cost_of=lambda delivery: delivery.cost,
        )

    async def apply(self, delivery: Received) -> Judgement | None:
        """Returns once it is committed; None if it has to be applied apart, and nothing came of it here.

        Raises DatabaseUnavailable or Overloaded.
        """
        return await self.submit(delivery)

    def submit(self, delivery: Received) -> "asyncio.Future[Judgement | None]":
        """As `apply`, for one who has several; cancel the future to leave the delivery out."""
        if not delivery.may_take_long:
            return self._coalescer.submit(delivery)
        apart: asyncio.Future[Judgement | None] = asyncio.get_running_loop().create_future()
        apart.set_result(_APART)
        return apart

    async def apply_together(self, deliveries: Sequence[Received]) -> Sequence[Judgement | None]:
        """Applies them as if one after the other; what `apply` returns, for each. Raises DatabaseUnavailable."""

        async def work(connection: Statements) -> Sequence[Judgement | None]:
            return await _apply_all(connection, deliveries)

        connection = self._connections.pop()
        try:
            try:
                return await _transaction(connection, work)
            except Overtaken:
                # Now the rows are there that another transaction has made, and can be locked.
                return await _transaction(connection, work)
        except DatabaseUnavailable:
            raise
        except (DatabaseRefused, HeldUp, Overtaken) as error:
            # One of them may be at fault. Apart it is told so, and the others go through.
            _log.info("a batch is applied one by one", size=len(deliveries), error=describe(error.__cause__ or error))
        except Exception as error:  # noqa: BLE001
            # The others are not to suffer from it, but it must not stay hidden either.
            _log.error("defect", error=type(error).__name__, frames=frames_of(error), size=len(deliveries))
        finally:
            self._connections.append(connection)
        return [_APART] * len(deliveries)


async def _transaction(
    connection: DedicatedConnection, work: Callable[[Statements], Awaitable[Sequence[Judgement | None]]]
) -> Sequence[Judgement | None]:
    return await connection.transaction(work, lock_timeout_s=_LOCK_TIMEOUT_S, statement_timeout_s=_STATEMENT_TIMEOUT_S)


async def _apply_all(connection: Statements, deliveries: Sequence[Received]) -> Sequence[Judgement | None]:
    """In the one order of all who write deliveries: locks, rows, and the ledger last."""
    firsts: dict[str, Received] = {}
    is_first = []
    for delivery in deliveries:
        is_first.append(delivery.entry.svix_id not in firsts)
        firsts.setdefault(delivery.entry.svix_id, delivery)
    # Nobody waits here: what holds a lock may be the deletion of a large organization.
    locks = locks_of_all(fact for delivery in firsts.values() for fact in delivery.facts)
    held, known = await lock_and_recall(connection, locks, firsts)
    left_out = held and {name for name, told in firsts.items() if not held.isdisjoint(locks_of_all(told.facts))}
    new = {svix_id: told for svix_id, told in firsts.items() if svix_id not in left_out and svix_id not in known}
    rules = await _join(connection, new)
    entered = {svix_id: delivery.judged(rules.get(svix_id)) for svix_id, delivery in new.items()}
    if entered and await enter_deliveries(connection, list(entered.values())) < len(entered):
        raise Overtaken
    known |= {svix_id: entry.judgement.outcome for svix_id, entry in entered.items()}

    def answer(delivery: Received, *, first: bool) -> Judgement | None:
        svix_id = delivery.entry.svix_id
        if svix_id in left_out:
            return _APART
        if first and svix_id in entered:
            return entered[svix_id].judgement
        if delivery.ours and known[svix_id] in (Outcome.QUARANTINED, Outcome.IGNORED):
            return _APART
        return replace(delivery.entry.judgement, outcome=Outcome.DUPLICATE)

    return [answer(delivery, first=first) for delivery, first in zip(deliveries, is_first, strict=True)]


async def _join(connection: Statements, deliveries: Mapping[str, Received]) -> dict[str, Rule]:
    """Joins the facts of those that have any; returns which rule decided about each."""
    told = {svix_id: delivery.facts for svix_id, delivery in deliveries.items() if delivery.facts}
    return dict(zip(told, await join_facts(connection, list(told.values())), strict=True)) if told else {}
