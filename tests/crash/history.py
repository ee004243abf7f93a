"""Histories of organizations and their members as Clerk tells them, and what must be in the tables after them.

The expectation is that of the pure rules; it does not depend on the order in which the deliveries arrive.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import bodies
from stack import now_ms

from clerksync_server.clerk.events import decode_event
from clerksync_server.clock import timestamp_of
from clerksync_server.rules.facts import MembershipEnded, OrganizationDeleted, UserDeleted
from clerksync_server.rules.world import World

Pair = tuple[str, str]
"""(user, organization)"""
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Delivery:
    """A delivery, and what the ledger must call it; None where applied and stale both will do."""

    svix_id: str
    raw: bytes
    outcome: str | None = None


@dataclass
class Ended:
    """What is over for good once a delivery has been acknowledged."""

    pairs: set[Pair] = field(default_factory=set)
    orgs: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)

    def __contains__(self, pair: Pair) -> bool:
        return pair in self.pairs or pair[0] in self.users or pair[1] in self.orgs


class Chapter:
    """A few organizations and users over some time, told out of order and partly twice."""

    def __init__(self, seed: int, name: str, begin_ms: int, *, orgs: int = 3, users: int = 6, steps: int = 60) -> None:
        self._random = random.Random(f"{seed} {name}")
        self._name = name
        self._now_ms = begin_ms
        self.orgs = [f"org_{name}_{number}" for number in range(orgs)]
        self.users = [f"user_{name}_{number}" for number in range(users)]
        self.deleted_orgs: set[str] = set()
        self._deleted_users: set[str] = set()
        self._alive: dict[Pair, int] = {}
        self._pairs: set[Pair] = set()
        self._told = [self._organization("created", org) for org in self.orgs]
        for _ in range(steps):
            self._told.extend(self._step())
        self.deliveries = list(self._deliver())

    @property
    def pairs(self) -> list[Pair]:
        """Those that at least one delivery tells of."""
        return sorted(self._pairs)

    def _organization(self, verb: str, org: str) -> bodies.Body:
        return bodies.organization(verb, org, at=self._tick(), name=f"{org} as of {self._now_ms}", slug=None)

    def _tick(self) -> int:
        self._now_ms += self._random.randrange(1, 50)
        return self._now_ms

    def _step(self) -> Iterator[bodies.Body]:
        pick = self._random.choice
        user = pick([user for user in self.users if user not in self._deleted_users])
        org = pick([org for org in self.orgs if org not in self.deleted_orgs])
        step = self._random.choices(["membership", "organization", "user", "foreign", "end"], [24, 5, 2, 1, 1])[0]
        if step == "membership":
            yield self._membership((user, org))
        elif step == "organization":
            yield self._organization("updated", org)
        elif step == "user":
            yield bodies.user(pick(["created", "updated"]), user, at=self._tick())
        elif step == "foreign":
            yield bodies.envelope(pick(["session.created", "email.created"]), {"id": user}, self._tick())
        elif len(self._deleted_users) < 2 and self._random.random() < 0.7:
            self._deleted_users.add(user)
            yield bodies.user("deleted", user, at=self._tick())
        elif not self.deleted_orgs:
            self.deleted_orgs.add(org)
            yield self._organization("deleted", org)

    def _membership(self, pair: Pair) -> bodies.Body:
        self._pairs.add(pair)
        at = self._tick()
        if pair not in self._alive:
            verb, self._alive[pair] = "created", at
        else:
            verb = self._random.choice(["updated", "deleted"])
        joined_at = self._alive.pop(pair) if verb == "deleted" else self._alive[pair]
        nested = bodies.snapshot(pair[1], updated_at=at, name=f"{pair[1]} as of {at}", slug=None)
        return bodies.membership(
            verb,
            *pair,
            at=at,
            joined_at=joined_at,
            role=self._random.choice(["org:member", "org:admin"]),
            nested=nested if self._random.random() < 0.3 else None,
        )

    def _deliver(self) -> Iterator[Delivery]:
        told = [json.dumps(body).encode() for body in self._told]
        # By a second endpoint, under an id of its own.
        told += [raw for raw in told if self._random.random() < 0.1]
        self._random.shuffle(told)
        for number, raw in enumerate(told):
            foreign = b'"session.' in raw or b'"email.' in raw
            yield Delivery(f"msg_{self._name}_{number}", raw, "ignored" if foreign else None)
        broken = b'{"type": "organizationMembership.created", "data": {}, "object": "event"}'
        yield Delivery(f"msg_{self._name}_broken", broken, "quarantined")


class Expectation:
    """What all deliveries together come to, by the pure rules."""

    def __init__(self) -> None:
        self.world = World()
        self.gone = Ended()
        """What must not be there any more, nor come back."""
        self._ends: dict[str, Ended] = {}

    def add(self, deliveries: list[Delivery]) -> None:
        """Deliveries that will be sent; those that concern the same organizations and users together."""
        facts = [
            (delivery.svix_id, fact)
            for delivery in deliveries
            if delivery.outcome != "quarantined"
            for fact in decode_event(delivery.raw, attempted_at_ms=now_ms()).facts
        ]
        for _, fact in facts:
            self.world.apply(fact)
        for svix_id, fact in facts:
            match fact:
                case OrganizationDeleted():
                    self._ends[svix_id] = Ended(orgs={fact.clerk_org_id})
                case UserDeleted():
                    self._ends[svix_id] = Ended(users={fact.clerk_user_id})
                case MembershipEnded():
                    pair = (fact.clerk_user_id, fact.clerk_org_id)
                    register = self.world.pairs[pair]
                    assert register.tombstone is not None
                    if register.living is None and fact.through == register.tombstone.through:
                        self._ends[svix_id] = Ended(pairs={pair})

    def acknowledge(self, svix_id: str) -> None:
        """A delivery was answered 2xx: what it ends is over from now on."""
        if (end := self._ends.get(svix_id)) is not None:
            self.gone.pairs |= end.pairs
            self.gone.orgs |= end.orgs
            self.gone.users |= end.users

    def organizations(self) -> Rows:
        return [
            (org, told.name, told.slug, moment(told.version.updated_at_ms), moment(told.version.event_at_ms))
            for org, register in sorted(self.world.organizations.items())
            if register.exists and (told := register.snapshot) is not None
        ]

    def profiles(self) -> Rows:
        living = [(pair, self.world.profile(pair)) for pair in sorted(self.world.pairs)]
        return [
            (*pair, told.generation.membership_id, moment(told.version.updated_at_ms), told.role)
            for pair, profile in living
            if profile is not None and (told := profile.membership) is not None
        ]

    def tombstones(self) -> Rows:
        return [
            (*pair, moment(told.through.created_at_ms), told.through.membership_id, moment(told.removed_at_ms))
            for pair, register in sorted(self.world.pairs.items())
            if (told := register.tombstone) is not None
        ]

    def deleted(self) -> Rows:
        registers = [("organization", key, it.deleted_at_ms) for key, it in sorted(self.world.organizations.items())]
        registers += [("user", key, it.deleted_at_ms) for key, it in sorted(self.world.users.items())]
        return [(kind, key, moment(at)) for kind, key, at in registers if at is not None]


def moment(milliseconds: int) -> datetime:
    return timestamp_of(milliseconds)
