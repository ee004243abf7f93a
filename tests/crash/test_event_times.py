"""Times of events as they arrive: in seconds, missing, or in the future."""

from datetime import timedelta
from typing import Any

import bodies
import grpc
import pytest
from stack import Stack, error_info, now_ms

from clerksync_server.clock import utc_now

YEAR_MS = 365 * 24 * 3_600_000
PROFILES = "select clerk_user_id, clerk_org_id, role from user_profile order by 1, 2"
NAMES = "select clerk_org_id, name from organization order by 1"


async def outcome_of(stack: Stack, body: bodies.Body) -> tuple[int, str]:
    answer = await stack.post(body)
    return answer.status, answer.outcome


def in_seconds(value: Any) -> Any:
    """The body with every time in whole seconds, as some of Clerk's own examples have it."""
    if isinstance(value, dict):
        times = ("timestamp", "created_at", "updated_at")
        return {key: it // 1000 if key in times and it else in_seconds(it) for key, it in value.items()}
    return value


def without_times(body: bodies.Body) -> bodies.Body:
    data = {key: it for key, it in body["data"].items() if key not in ("created_at", "updated_at")}
    return {key: it for key, it in body.items() if key != "timestamp"} | {"data": data}


async def test_times_in_seconds(stack: Stack) -> None:
    """Seconds and milliseconds mean the same moment, so an older snapshot stays older in either."""
    t = now_ms() // 1000 * 1000 - 60_000
    newer = bodies.organization("updated", "org_1", at=t + 2000, name="Newer")
    older = bodies.organization("updated", "org_1", at=t + 1000, name="Older")
    left = bodies.membership("deleted", "user_1", "org_1", at=t + 2000, joined_at=t)
    joined = bodies.membership("created", "user_1", "org_1", at=t, joined_at=t, membership_id=left["data"]["id"])

    assert (200, "applied") == await outcome_of(stack, in_seconds(newer))
    assert (200, "stale") == await outcome_of(stack, older)
    assert (200, "stale") == await outcome_of(stack, in_seconds(older))
    assert (200, "applied") == await outcome_of(stack, left)
    assert (200, "stale") == await outcome_of(stack, in_seconds(joined))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.ensure_profile("user_1", "org_1", t + 2000)

    assert error_info(caught.value).reason == "MEMBERSHIP_REMOVED"
    assert [{"clerk_org_id": "org_1", "name": "Newer"}] == await stack.rows(NAMES)
    assert [] == await stack.rows(PROFILES)


async def test_missing_envelope_times(stack: Stack) -> None:
    """Without an envelope's time the entity's own decides, and the attempt's stands in for that of a removal."""
    t = now_ms() - 60_000

    def bare(body: bodies.Body) -> bodies.Body:
        return {key: it for key, it in body.items() if key != "timestamp"}

    assert (200, "applied") == await outcome_of(stack, bare(bodies.organization("updated", "org_1", at=t, name="New")))
    older = bare(bodies.organization("updated", "org_1", at=t - 1, name="Old"))
    assert (200, "stale") == await outcome_of(stack, older)
    joined = bare(bodies.membership("created", "user_1", "org_1", at=t, joined_at=t))
    left = bare(bodies.membership("deleted", "user_1", "org_1", at=t, joined_at=t))
    assert (200, "applied") == await outcome_of(stack, joined)
    assert (200, "applied") == await outcome_of(stack, left)
    assert (200, "stale") == await outcome_of(stack, joined)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        # A token of a moment ago, but from before the removal was delivered.
        await stack.ensure_profile("user_1", "org_1", now_ms() - 10_000)

    assert error_info(caught.value).reason == "MEMBERSHIP_REMOVED"
    assert [{"clerk_org_id": "org_1", "name": "New"}] == await stack.rows(NAMES)


async def test_no_times_at_all(stack: Stack) -> None:
    """Bodies without any time are as of their attempt, and are taken in the order in which they were sent."""
    first = without_times(bodies.organization("updated", "org_1", at=1, name="First"))
    joined = without_times(bodies.membership("created", "user_1", "org_1", at=1, joined_at=1))
    left = without_times(bodies.membership("deleted", "user_1", "org_1", at=1, joined_at=1))

    outcomes = [await outcome_of(stack, body) for body in (first, joined, left)]

    assert [(200, "applied")] * 3 == outcomes
    assert [] == await stack.rows(PROFILES)


@pytest.mark.parametrize("place", ["timestamp", "updated_at", "created_at"])
async def test_snapshots_from_next_year(stack: Stack, place: str) -> None:
    """An event that claims to be from next year is kept aside and freezes nothing: a normal one afterwards wins."""
    t = now_ms() - 60_000
    organization = bodies.organization("updated", "org_1", at=t, name="Frozen")
    membership = bodies.membership("updated", "user_1", "org_1", at=t, joined_at=t, role="org:frozen")
    for body in (organization, membership):
        (body if place == "timestamp" else body["data"])[place] = t + YEAR_MS

    # When an organization was made orders nothing, so that time may say what it likes.
    expected = (200, "applied") if place == "created_at" else (202, "quarantined")
    assert expected == await outcome_of(stack, organization)
    assert (202, "quarantined") == await outcome_of(stack, membership)
    assert [] == await stack.rows(PROFILES)

    joined = bodies.membership("created", "user_1", "org_1", at=t, joined_at=t)
    promoted = bodies.membership("updated", "user_1", "org_1", at=t + 1, joined_at=t, role="org:admin")
    named = bodies.organization("updated", "org_1", at=t + 1, name="Normal")
    assert [(200, "applied")] * 3 == [await outcome_of(stack, body) for body in (joined, promoted, named)]
    assert [{"clerk_org_id": "org_1", "name": "Normal"}] == await stack.rows(NAMES)
    assert ["org:admin"] == [row["role"] for row in await stack.rows(PROFILES)]


async def test_a_nested_organization_from_next_year(stack: Stack) -> None:
    """A membership whose nested organization is from next year does not freeze that organization either."""
    t = now_ms() - 60_000
    nested = bodies.snapshot("org_1", updated_at=t + YEAR_MS, name="Frozen")

    answer = await stack.post(bodies.membership("created", "user_1", "org_1", at=t, joined_at=t, nested=nested))

    assert answer.status in (200, 202)
    assert (200, "applied") == await outcome_of(stack, bodies.organization("updated", "org_1", at=t, name="Normal"))
    assert [{"clerk_org_id": "org_1", "name": "Normal"}] == await stack.rows(NAMES)


async def test_a_removal_from_next_year(stack: Stack) -> None:
    """It removes, as of its attempt: tokens issued before are refused, and who joins again is a member."""
    t = now_ms() - 60_000
    await stack.post(bodies.membership("created", "user_1", "org_1", at=t, joined_at=t))

    left = bodies.membership("deleted", "user_1", "org_1", at=t + YEAR_MS, joined_at=t)
    assert (200, "applied") == await outcome_of(stack, left)
    assert [] == await stack.rows(PROFILES)
    (tombstone,) = await stack.rows("select removed_at from clerksync.membership_tombstone")
    assert tombstone["removed_at"] < utc_now() + timedelta(minutes=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.ensure_profile("user_1", "org_1", now_ms() - 10_000)
    assert error_info(caught.value).reason == "MEMBERSHIP_REMOVED"

    again = bodies.membership("created", "user_1", "org_1", at=t + 30_000, joined_at=t + 30_000)
    assert (200, "applied") == await outcome_of(stack, again)
    assert ["user_1"] == [row["clerk_user_id"] for row in await stack.rows(PROFILES)]


@pytest.mark.parametrize("kind", ["user", "organization"])
async def test_deletions_from_next_year(stack: Stack, kind: str) -> None:
    """A deletion of a user or an organization is final whatever time it claims, and is dated by its attempt."""
    t = now_ms() - 60_000
    await stack.post(bodies.membership("created", "user_1", "org_1", at=t, joined_at=t))
    deletion = (
        bodies.user("deleted", "user_1", at=t + YEAR_MS)
        if kind == "user"
        else bodies.organization("deleted", "org_1", at=t + YEAR_MS)
    )

    assert (200, "applied") == await outcome_of(stack, deletion)

    assert [] == await stack.rows(PROFILES)
    (deleted,) = await stack.rows("select deleted_at from clerksync.deleted_entity")
    assert deleted["deleted_at"] < utc_now() + timedelta(minutes=5)
    late = bodies.membership("updated", "user_1", "org_1", at=t + 1, joined_at=t)
    assert (200, "stale") == await outcome_of(stack, late)
