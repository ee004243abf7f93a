"""When events happened: the envelope's time, or the best there is instead."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clerksync_server.clerk.events import ClerkEvent, decode_event
from clerksync_server.clerk.values import NotUnderstood
from clerksync_server.rules.facts import (
    Fact,
    Generation,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationSnapshot,
    UserDeleted,
    Version,
)

USER, ORG, MEMBERSHIP = "user_1", "org_1", "orgmem_1"
CREATED, UPDATED, STAMPED = 1_700_000_000_100, 1_700_000_000_200, 1_700_000_000_300
ATTEMPTED_AT = 1_800_000_000_000
LATEST = 253_402_300_799_999
DAY = 24 * 60 * 60 * 1000
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
        pytest.param(LATEST, LATEST, id="the last that Postgres can tell"),
        pytest.param(0, None, id="zero"),
        pytest.param(0.0, None, id="zero as a float"),
        pytest.param(-0.0, None, id="minus zero"),
        pytest.param(None, None, id="null"),
        pytest.param(MISSING, None, id="missing"),
    ],
)
def test_the_time_of_the_envelope(timestamp: Any, expected: int | None) -> None:
    """Seconds and milliseconds are told apart by their size, and zero is no time."""
    event = decode("user.deleted", {"id": USER}, timestamp, attempted_at_ms=LATEST)

    assert expected == event.event_at_ms
    assert (UserDeleted(USER, expected or LATEST + 2),) == event.facts


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


@pytest.mark.parametrize("place", ["timestamp", "data.created_at", "data.updated_at", "data.organization.updated_at"])
@pytest.mark.parametrize("now_ms", [None, ATTEMPTED_AT - 5 * DAY, ATTEMPTED_AT + 5 * DAY])
def test_a_time_to_come_is_not_believed(place: str, now_ms: int | None) -> None:
    """It would win against every real time until then; more than a day after the attempt, or after now, is too late."""
    latest = max(ATTEMPTED_AT, now_ms or 0) + DAY

    def decode_at(milliseconds: int) -> ClerkEvent:
        body: dict[str, Any] = {"type": "organizationMembership.updated", "timestamp": STAMPED}
        body["data"] = membership(organization={"id": ORG, "name": "A"}, created_at=CREATED, updated_at=UPDATED)
        *path, last = place.split(".")
        target = body
        for key in path:
            target = target[key]
        target[last] = milliseconds
        return decode_event(json.dumps(body).encode(), attempted_at_ms=ATTEMPTED_AT, now_ms=now_ms)

    with pytest.raises(NotUnderstood) as caught:
        decode_at(latest + 1)

    assert decode_at(latest).ours
    assert str(caught.value) == f"{place} lies more than a day after the delivery was sent"


@pytest.mark.parametrize("key", ["created_at", "updated_at"])
@pytest.mark.parametrize("event_type", ["organization.created", "organizationMembership.created"])
def test_the_only_time_is_named_if_it_is_to_come(event_type: str, key: str) -> None:
    """Whoever looks for it finds it: no other time is in the body."""
    with pytest.raises(NotUnderstood) as caught:
        decode(event_type, membership(name="A", **{key: ATTEMPTED_AT + DAY + 1}))

    assert str(caught.value).startswith(f"data.{key} lies")


def test_a_removal_to_come_was_when_it_was_sent() -> None:
    """A removal must not wait until its time is understood: the attempt was after it."""
    told = membership(created_at=CREATED, updated_at=UPDATED)
    removal = decode("organizationMembership.deleted", told, ATTEMPTED_AT + DAY + 1)
    organization = decode("organization.deleted", {"id": ORG}, ATTEMPTED_AT + DAY + 1)
    user = decode("user.deleted", {"id": USER}, LATEST)

    assert MembershipEnded(USER, ORG, Generation(CREATED, MEMBERSHIP), ATTEMPTED_AT + 2) == subject(removal)
    assert (OrganizationDeleted(ORG, ATTEMPTED_AT + 2),) == organization.facts
    assert (UserDeleted(USER, ATTEMPTED_AT + 2),) == user.facts


moments = st.sampled_from(
    [None, 0, CREATED, CREATED // 1000, ATTEMPTED_AT + DAY, ATTEMPTED_AT + DAY + 1, LATEST, LATEST // 1000]
)


@given(st.sampled_from(["created", "updated", "deleted"]), st.lists(moments, min_size=5, max_size=5))
@settings(max_examples=600)
def test_no_fact_is_of_a_time_to_come(verb: str, times: list[int | None]) -> None:
    """Whichever times a body lacks or has wrong, what decides between facts is no later than can be."""
    timestamp, created_at, updated_at, nested_created_at, nested_updated_at = times
    nested = {"id": ORG, "name": "A", "created_at": nested_created_at, "updated_at": nested_updated_at}
    told = membership(created_at=created_at, updated_at=updated_at, organization=nested)
    try:
        event = decode(f"organizationMembership.{verb}", told, timestamp)
    except NotUnderstood:
        return
    deciding = [moment for fact in event.facts for moment in deciding_times(fact)]

    assert max(deciding) <= ATTEMPTED_AT + DAY


def deciding_times(fact: Fact) -> Sequence[int]:
    match fact:
        case OrganizationSnapshot():
            return fact.version
        case MembershipSnapshot():
            return [fact.generation.created_at_ms, *fact.version]
        case MembershipEnded():
            return [fact.through.created_at_ms, fact.removed_at_ms]
        case _:
            return []
