"""When events happened: the envelope's time, or the best there is instead."""

import json
from itertools import permutations
from typing import Any

import pytest

from clerksync_server.clerk.events import ClerkEvent, decode_event
from clerksync_server.clerk.values import NotUnderstood
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
CREATED, UPDATED, STAMPED = 1_700_000_000_100, 1_700_000_000_200, 1_700_000_000_300
ATTEMPTED_AT = 1_800_000_000_000
MISSING: Any = object()


def decode(
    event_type: str, data: dict[str, Any], timestamp: Any = MISSING, attempted_at_ms: int = ATTEMPTED_AT
) -> ClerkEvent:
    envelope = {"type": event_type, "data": data} | ({} if timestamp is MISSING else {"timestamp": timestamp})
    return decode_event(json.dumps(envelope).encode(), attempted_at_ms=attempted_at_ms)


def membership(**times: Any) -> dict[str, Any]:
    return {"id": MEMBERSHIP, "organization": {"id": ORG}, "public_user_data": {"user_id": USER}, "role": "r", **times}


def subject(event: ClerkEvent) -> Any:
    return event.facts[-1]


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        pytest.param(1_716_883_200_123, 1_716_883_200_123, id="milliseconds"),
        pytest.param(1_716_883_200, 1_716_883_200_000, id="seconds"),
        pytest.param(1_716_883_200.25, 1_716_883_200_250, id="seconds with a fraction"),
        pytest.param(1_716_883_200_123.9, 1_716_883_200_123, id="milliseconds with a fraction"),
        pytest.param(1.716883200123e12, 1_716_883_200_123, id="milliseconds in scientific notation"),
        pytest.param(99_999_999_999, 99_999_999_999_000, id="the last that is seconds"),
        pytest.param(100_000_000_000, 100_000_000_000, id="the first that is milliseconds"),
        pytest.param(1, 1_000, id="the first second"),
        pytest.param(253_402_300_799_999, 253_402_300_799_999, id="the last that Postgres can tell"),
        pytest.param(0, None, id="zero"),
        pytest.param(0.0, None, id="zero as a float"),
        pytest.param(-0.0, None, id="minus zero"),
        pytest.param(None, None, id="null"),
        pytest.param(MISSING, None, id="missing"),
    ],
)
def test_the_time_of_the_envelope(timestamp: Any, expected: int | None) -> None:
    """Seconds and milliseconds are told apart by their size, and zero is no time."""
    event = decode("user.deleted", {"id": USER}, timestamp)

    assert expected == event.event_at_ms
    assert (UserDeleted(USER, expected or ATTEMPTED_AT + 2),) == event.facts


@pytest.mark.parametrize("place", ["timestamp", "data.created_at", "data.updated_at"])
@pytest.mark.parametrize("value", [-1, -0.5, 253_402_300_800_000, 1e300, 10**18, 10**25, -(10**25)])
def test_a_time_that_cannot_be(place: str, value: float) -> None:
    """A time before 1970 or after 9999 is not understood; the text names its place and not the value."""
    times = {"created_at": CREATED, "updated_at": UPDATED, "timestamp": STAMPED} | {place.removeprefix("data."): value}
    timestamp = times.pop("timestamp")
    with pytest.raises(NotUnderstood) as caught:
        decode("organizationMembership.created", membership(**times), timestamp)

    assert str(caught.value) == f"{place} is not a time"


@pytest.mark.parametrize(
    ("times", "timestamp", "version"),
    [
        pytest.param((CREATED, UPDATED), STAMPED, Version(UPDATED, STAMPED), id="all there"),
        pytest.param((CREATED, UPDATED), MISSING, Version(UPDATED, UPDATED), id="the envelope's missing"),
        pytest.param((CREATED, UPDATED), 0, Version(UPDATED, UPDATED), id="the envelope's zero"),
        pytest.param((CREATED, None), STAMPED, Version(STAMPED, STAMPED), id="no update time"),
        pytest.param((CREATED, None), None, Version(CREATED, CREATED), id="only the creation's"),
        pytest.param((None, None), None, Version(ATTEMPTED_AT + 1, ATTEMPTED_AT + 1), id="none: the attempt's"),
    ],
)
def test_the_version_of_a_snapshot(times: tuple[int | None, int | None], timestamp: Any, version: Version) -> None:
    """A snapshot is as of its own update, then as of its envelope; what is missing is stood in for."""
    created_at, updated_at = times
    told = {"created_at": created_at, "updated_at": updated_at}
    organization = decode("organization.updated", {"id": ORG, "name": "A", **told}, timestamp)
    member = decode("organizationMembership.updated", membership(**told), timestamp)

    assert (OrganizationSnapshot(ORG, "A", None, None, created_at, version),) == organization.facts
    assert version == subject(member).version


def test_times_of_data_in_seconds() -> None:
    """Data may count in seconds as well."""
    event = decode(
        "organizationMembership.created", membership(created_at=1_700_000_000, updated_at=1_700_000_001), None
    )

    assert Generation(1_700_000_000_000, MEMBERSHIP) == subject(event).generation
    assert Version(1_700_000_001_000, 1_700_000_001_000) == subject(event).version


def test_a_nested_organization_has_its_own_update_time() -> None:
    """The organization that a membership carries is as of its own update, and the membership's event comes second."""
    nested = {"id": ORG, "name": "A", "created_at": 5_000_000, "updated_at": UPDATED - 50}
    told = membership(created_at=CREATED, updated_at=UPDATED) | {"organization": nested}
    event = decode("organizationMembership.updated", told, STAMPED)
    undated = decode("organizationMembership.updated", told | {"organization": {"id": ORG, "name": "A"}}, STAMPED)

    assert event.facts[0] == OrganizationSnapshot(ORG, "A", None, None, 5_000_000_000, Version(UPDATED - 50, STAMPED))
    assert undated.facts[0] == OrganizationSnapshot(ORG, "A", None, None, None, Version(STAMPED, STAMPED))


@pytest.mark.parametrize(
    ("timestamp", "removed_at"),
    [
        pytest.param(STAMPED, STAMPED, id="the envelope's"),
        pytest.param(UPDATED - 50, UPDATED - 50, id="the envelope's, even if it is older than the last update"),
        pytest.param(MISSING, ATTEMPTED_AT + 2, id="the attempt's, never the last update's"),
        pytest.param(0, ATTEMPTED_AT + 2, id="the attempt's instead of zero"),
    ],
)
def test_the_time_of_a_removal(timestamp: Any, removed_at: int) -> None:
    """A removal does not move `updated_at`, which may lie days before it: it never tells when the removal was."""
    event = decode("organizationMembership.deleted", membership(created_at=CREATED, updated_at=UPDATED), timestamp)

    assert MembershipEnded(USER, ORG, Generation(CREATED, MEMBERSHIP), removed_at) == subject(event)


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
