"""Bodies of little more than a type and ids: the time of the attempt stands in for those that they lack."""

import json
from itertools import permutations
from typing import Any

import pytest

from clerksync_server.clerk.events import ClerkEvent, decode_event
from clerksync_server.rules.facts import (
    Fact,
    Generation,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationMention,
    OrganizationSnapshot,
    UserDeleted,
    Version,
)
from clerksync_server.rules.world import World

USER, ORG, MEMBERSHIP = "user_1", "org_1", "orgmem_1"
ATTEMPTED_AT = 1_800_000_000_000


def decode(event_type: str, data: dict[str, Any], attempted_at_ms: int = ATTEMPTED_AT) -> ClerkEvent:
    return decode_event(json.dumps({"type": event_type, "data": data}).encode(), attempted_at_ms=attempted_at_ms)


def membership(role: str = "r") -> dict[str, Any]:
    return {"id": MEMBERSHIP, "organization": {"id": ORG}, "public_user_data": {"user_id": USER}, "role": role}


@pytest.mark.parametrize(
    ("event_type", "data", "facts"),
    [
        (
            "organization.created",
            {"id": ORG, "name": "A"},
            [OrganizationSnapshot(ORG, "A", None, None, None, Version(0, 0))],
        ),
        ("organization.deleted", {"id": ORG}, [OrganizationDeleted(ORG, 2)]),
        ("user.deleted", {"id": USER}, [UserDeleted(USER, 2)]),
        (
            "organizationMembership.created",
            membership(),
            [OrganizationMention(ORG), MembershipSnapshot(USER, ORG, Generation(0, MEMBERSHIP), Version(0, 0), "r")],
        ),
        (
            "organizationMembership.updated",
            membership(),
            [OrganizationMention(ORG), MembershipSnapshot(USER, ORG, Generation(1, MEMBERSHIP), Version(1, 1), "r")],
        ),
        (
            "organizationMembership.deleted",
            membership(),
            [OrganizationMention(ORG), MembershipEnded(USER, ORG, Generation(2, MEMBERSHIP), 2)],
        ),
    ],
)
def test_the_attempt_stands_in_where_there_is_no_time(event_type: str, data: dict[str, Any], facts: list[Fact]) -> None:
    """A body of little more than a type and ids happened when it was sent, later kinds of event a little later."""
    event = decode(event_type, data, attempted_at_ms=0)

    assert tuple(facts) == event.facts
    assert event.event_at_ms is None


def test_bodies_without_times_keep_their_order_within_a_second() -> None:
    """Created, updated, deleted: sent in one second they end as they were meant, in whatever order they come."""
    created, updated, deleted = (
        decode(f"organizationMembership.{verb}", membership(role=verb)) for verb in ("created", "updated", "deleted")
    )

    for order in permutations([created, updated]):
        assert role_after(*order) == "updated"
    for removed in permutations([created, updated, deleted]):
        assert role_after(*removed) is None


def test_bodies_without_times_follow_their_attempts() -> None:
    """Somebody who joins again a second after leaving is a member."""
    deleted = decode("organizationMembership.deleted", membership())
    joined = decode("organizationMembership.created", membership(role="again"), attempted_at_ms=ATTEMPTED_AT + 1_000)

    assert role_after(deleted, joined) == "again"
    assert role_after(joined, deleted) == "again"


def role_after(*events: ClerkEvent) -> str | None:
    world = World()
    for event in events:
        for fact in event.facts:
            world.apply(fact)
    profile = world.profile((USER, ORG))
    return None if profile is None or profile.membership is None else profile.membership.role
