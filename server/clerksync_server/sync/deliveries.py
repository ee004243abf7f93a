"""Applies webhook deliveries: each exactly once, its effect and its entry in the ledger in one transaction."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from clerksync_server.clerk.events import ClerkEvent, decode_event
from clerksync_server.clerk.values import NotUnderstood
from clerksync_server.clock import milliseconds_of, timestamp_of, utc_now
from clerksync_server.database.connection import Database
from clerksync_server.database.deliveries import (
    OUTCOMES,
    DeliveryRow,
    Entry,
    Judgement,
    Outcome,
    enter_deliveries,
    list_deliveries,
    read_delivery,
    read_outcomes,
    settle_delivery,
)
from clerksync_server.database.facts import join_fact, locks_of, take_locks
from clerksync_server.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    DeliveryContended,
    DeliveryNotFound,
    Overloaded,
)
from clerksync_server.rules.decisions import Rule
from clerksync_server.rules.facts import Fact
from clerksync_server.sync.body_keys import BodyKeys
from clerksync_server.sync.delivery_batches import MOST_BYTES, DeliveryBatches, Received
from clerksync_server.sync.room import Room

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery whose signature has been verified; `attempted_at` is the time that was signed."""

    svix_id: str
    attempted_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a delivery; `event_type` is None if the body could not be read so far."""

    outcome: Outcome
    event_type: str | None


class _EnteredMeanwhile(Exception):
    """Another transaction has entered the same delivery: nothing of this one must be committed."""


class Deliveries:
    """Takes deliveries whose signature has been verified."""

    def __init__(
        self,
        database: Database,
        *,
        instance_id: str | None = None,
        body_keys: BodyKeys | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """With an `instance_id`, events that name another Clerk instance are ignored."""
        self._database = database
        self._instance_id = instance_id
        self._body_keys = body_keys or BodyKeys()
        self._now = now
        self._batches = DeliveryBatches(database)
        self._room_apart = Room(MOST_BYTES)

    async def apply(self, delivery: Delivery) -> Applied:
        """Returns once the effect is committed. A repeat changes nothing, unless what it repeats was not applied.

        Raises DatabaseRefused, DatabaseUnavailable or Overloaded.
        """
        received = self._receive(delivery)
        settled = await self._batches.apply(received)
        if settled is None:
            with self._room_apart.taken(received.cost, received.group):
                settled = await self._apply_apart(received, delivery.body)
                if settled is None:
                    return await self._apply_again(delivery)
        return Applied(settled.outcome, settled.event_type)

    async def apply_together(
        self, deliveries: Sequence[Delivery]
    ) -> list[Applied | DeliveryContended | DatabaseUnavailable | Overloaded]:
        """As `apply`, for each. Nobody waits for others here: who would have to is DeliveryContended."""
        submitted = [self._batches.submit(self._receive(delivery)) for delivery in deliveries]
        outcomes: list[Applied | DeliveryContended | DatabaseUnavailable | Overloaded] = []
        try:
            for each in submitted:
                try:
                    settled = await each
                except (DatabaseUnavailable, Overloaded) as error:
                    outcomes.append(error)
                else:
                    outcomes.append(Applied(settled.outcome, settled.event_type) if settled else DeliveryContended())
        finally:
            for each in submitted:
                each.cancel()
        return outcomes

    def _receive(self, delivery: Delivery) -> Received:
        event, judgement = self._read(delivery.body, delivery.attempted_at)
        digest = hashlib.sha256(delivery.body).digest()
        entry = Entry(delivery.svix_id, delivery.attempted_at, self._now(), digest, judgement)
        return Received(entry, event, len(delivery.body))

    async def _apply_apart(self, delivery: Received, body: bytes) -> Judgement | None:
        """In a transaction of its own, waiting for what others lock; None if it is a repeat."""

        def enter(delivery: Received) -> "Callable[[Connection], Awaitable[Judgement | None]]":
            async def work(connection: "Connection") -> Judgement | None:
                svix_id, rule = delivery.entry.svix_id, None
                if delivery.facts:
                    await take_locks(connection, set().union(*map(locks_of, delivery.facts)))
                    if await read_outcomes(connection, [svix_id]):
                        return None
                    rule = await _join(connection, delivery.facts)
                entry = delivery.judged(rule)
                if not await enter_deliveries(connection, [entry]):
                    raise _EnteredMeanwhile
                return entry.judgement

            return work

        try:
            return await self._database.transaction(enter(delivery))
        except _EnteredMeanwhile:
            return None
        except DatabaseRefused as error:
            # Sent again it would be refused again; kept, it can be redriven once what refuses it has been mended.
            reason = f"refused by the database: {error.detail}"
            judgement = self._quarantined(delivery.entry.judgement, body, reason, Rule.REFUSED_BY_DATABASE)
            refused = Received(replace(delivery.entry, judgement=judgement), None)
        try:
            return await self._database.transaction(enter(refused))
        except _EnteredMeanwhile:
            return None

    async def redrive(self, svix_id: str) -> DeliveryRow:
        """Tries a quarantined delivery again and returns it as it is afterwards; leaves any other as it is.

        Raises DeliveryNotFound, and BodyUnreadable, after which the delivery is in quarantine as before.
        """

        async def work(connection: "Connection") -> DeliveryRow:
            delivery = await read_delivery(connection, svix_id, lock=True)
            if delivery is None:
                raise DeliveryNotFound
            if (body := self._body_of(delivery)) is None:
                return delivery
            event, judgement = self._read(body, delivery.attempted_at, now=self._now())
            await self._settle(connection, svix_id, judgement, event)
            return await read_delivery(connection, svix_id) or delivery

        try:
            return await self._database.transaction(work)
        except DatabaseRefused:
            return await self.get(svix_id)

    async def get(self, svix_id: str, *, with_body: bool = False) -> DeliveryRow:
        """The delivery, with the body as it was sent if that is asked for and kept.

        Raises DeliveryNotFound, and BodyUnreadable.
        """
        async with self._database.connection() as connection:
            delivery = await read_delivery(connection, svix_id)
        if delivery is None:
            raise DeliveryNotFound
        body = self._body_of(delivery) if with_body else None
        return replace(delivery, judgement=replace(delivery.judgement, body=body, body_key=None))

    def _body_of(self, delivery: DeliveryRow) -> bytes | None:
        judgement = delivery.judgement
        if judgement.body is None:
            return None
        return self._body_keys.open(judgement.body, judgement.body_key, delivery.body_sha256)

    async def list(
        self, *, outcome: Outcome | None, after: tuple[datetime, str] | None, limit: int
    ) -> "list[DeliveryRow]":
        """The latest received first, without their bodies."""
        async with self._database.connection() as connection:
            return await list_deliveries(connection, outcome=outcome, after=after, limit=limit)

    def _read(
        self, body: bytes, attempted_at: datetime, *, now: datetime | None = None
    ) -> tuple[ClerkEvent | None, Judgement]:
        try:
            event = decode_event(
                body,
                attempted_at_ms=milliseconds_of(attempted_at),
                instance_id=self._instance_id,
                now_ms=None if now is None else milliseconds_of(now),
            )
        except NotUnderstood as error:
            unread = Judgement(Outcome.QUARANTINED, event_type=error.event_type)
            return None, self._quarantined(unread, body, str(error), Rule.NOT_UNDERSTOOD)
        return event, Judgement(
            outcome=Outcome.APPLIED if event.ours else Outcome.IGNORED,
            event_type=event.type,
            event_at=None if event.event_at_ms is None else timestamp_of(event.event_at_ms),
            clerk_user_id=event.clerk_user_id,
            clerk_org_id=event.clerk_org_id,
            rule=event.ignored_by,
        )

    def _quarantined(self, judgement: Judgement, body: bytes, reason: str, rule: Rule) -> Judgement:
        kept, key = self._body_keys.seal(body)
        return replace(
            judgement, outcome=Outcome.QUARANTINED, body=kept, body_key=key, quarantine_reason=reason, rule=rule
        )

    async def _settle(
        self, connection: "Connection", svix_id: str, judgement: Judgement, event: ClerkEvent | None
    ) -> Judgement:
        """Joins the event's facts; the last one, about its own subject, decides the outcome."""
        ours = event is not None and event.ours
        if event is not None and ours:
            await take_locks(connection, set().union(*map(locks_of, event.facts)))
            rule = await _join(connection, event.facts)
            judgement = replace(judgement, outcome=OUTCOMES[rule.effect], rule=rule)
        await settle_delivery(connection, svix_id, judgement, facts_joined=ours)
        return judgement

    async def _apply_again(self, delivery: Delivery) -> Applied:
        """A repeat. What was quarantined or ignored may be ours by now: then a resend from the dashboard applies it."""

        async def work(connection: "Connection") -> Outcome:
            before = await read_delivery(connection, delivery.svix_id, lock=True)
            if before is None or before.judgement.outcome not in (Outcome.QUARANTINED, Outcome.IGNORED):
                return Outcome.DUPLICATE
            if event is None or not event.ours:
                return Outcome.DUPLICATE
            return (await self._settle(connection, delivery.svix_id, judgement, event)).outcome

        event, judgement = self._read(delivery.body, delivery.attempted_at)
        try:
            outcome = await self._database.transaction(work)
        except DatabaseRefused:
            outcome = Outcome.DUPLICATE
        return Applied(outcome, judgement.event_type)


async def _join(connection: "Connection", facts: Sequence[Fact]) -> Rule:
    """Joins the facts; the last one, about the event's own subject, has the rule that decided."""
    return [await join_fact(connection, fact) for fact in facts][-1]
