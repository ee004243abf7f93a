"""ExplainUserProfile: why the row is or is not there."""

from typing import Any

import bodies
import pytest
from stack import Stack, now_ms

from clerksync.v1 import sync_service_pb2

ADA, ORG = "user_ada", "org_1"


async def explain(stack: Stack, user: str = ADA, org: str = ORG) -> sync_service_pb2.ExplainUserProfileResponse:
    request = sync_service_pb2.ExplainUserProfileRequest(clerk_user_id=user, clerk_org_id=org)
    response: sync_service_pb2.ExplainUserProfileResponse = await stack.sync.ExplainUserProfile(request)
    return response


def history(explained: sync_service_pb2.ExplainUserProfileResponse) -> list[tuple[str, str]]:
    """The svix-ids and deciding rules of the deliveries, the first one first."""
    return [(delivery.svix_id, delivery.rule) for delivery in reversed(explained.deliveries)]


async def test_nothing_known(stack: Stack) -> None:
    """Of a pair never seen it says so, and that a call would make the profile."""
    explained = await explain(stack)

    assert "no membership and no token" in explained.summary
    assert not explained.HasField("user_profile")
    assert explained.ensure_now == "CREATED"
    assert history(explained) == []


async def test_a_member(stack: Stack) -> None:
    """Of a member it tells the membership, the delivery that wrote the row last, and why later ones did not."""
    t = now_ms() - 60_000
    await stack.post(bodies.organization("created", ORG, at=t), svix_id="msg_org")
    await stack.post(bodies.membership("updated", ADA, ORG, at=t + 5, joined_at=t, role="org:admin"), svix_id="msg_new")
    await stack.post(bodies.membership("created", ADA, ORG, at=t, joined_at=t), svix_id="msg_old")
    await stack.post(bodies.user("updated", ADA, at=t), svix_id="msg_user")
    await stack.post(bodies.membership("created", ADA, "org_other", at=t, joined_at=t), svix_id="msg_elsewhere")

    explained = await explain(stack)

    assert "The delivery msg_new wrote it last." in explained.summary
    assert explained.origin == sync_service_pb2.PROFILE_ORIGIN_MEMBERSHIP
    assert explained.user_profile.role == "org:admin"
    assert explained.membership_times.create_time.ToMilliseconds() == t
    assert explained.membership_times.update_time.ToMilliseconds() == t + 5
    assert (explained.last_writer.svix_id, explained.ensure_now) == ("msg_new", "EXISTED")
    assert history(explained) == [
        ("msg_org", "newer"),
        ("msg_new", "newer"),
        ("msg_old", "older"),
        ("msg_user", "seen"),
    ]
    assert explained.deliveries[1].explanation == "it was not newer than what was known"


async def test_a_provisional_profile(stack: Stack) -> None:
    """Of a profile that Ensure made it tells the evidence."""
    issued_at = now_ms() // 1000 * 1000 - 5_000
    await stack.ensure_profile(ADA, ORG, issued_at)

    explained = await explain(stack)

    assert explained.origin == sync_service_pb2.PROFILE_ORIGIN_EVIDENCE
    assert explained.evidence_time.ToMilliseconds() == issued_at
    assert "provisionally" in explained.summary
    assert explained.organization.is_placeholder
    assert not explained.HasField("last_writer")


async def test_a_removed_member(stack: Stack) -> None:
    """Of a removed member it tells the tombstone, the rule that refused what came late, and what brings them back."""
    t = now_ms() - 10_000
    await stack.post(bodies.membership("deleted", ADA, ORG, at=t + 5, joined_at=t), svix_id="msg_removed")
    await stack.post(bodies.membership("created", ADA, ORG, at=t, joined_at=t), svix_id="msg_late")

    explained = await explain(stack)

    assert "was removed from the organization" in explained.summary
    assert explained.tombstone.remove_time.ToMilliseconds() == t + 5
    assert explained.tombstone.through_membership_id == f"orgmem_{ADA}_{t}"
    assert explained.ensure_now == "MEMBERSHIP_REMOVED"
    assert history(explained) == [("msg_removed", "removed"), ("msg_late", "membership_ended")]


@pytest.mark.parametrize(
    ("deletion", "field", "reason"),
    [
        (bodies.user("deleted", ADA, at=1_790_000_000_000), "user_delete_time", "USER_DELETED"),
        (bodies.organization("deleted", ORG, at=1_790_000_000_000), "organization_delete_time", "ORGANIZATION_DELETED"),
    ],
)
async def test_deleted(stack: Stack, deletion: bodies.Body, field: str, reason: str) -> None:
    """Of a deleted user or organization it says that this is final, and names the delivery that told so."""
    await stack.post(deletion, svix_id="msg_deleted")

    explained = await explain(stack)

    assert "Final." in explained.summary
    assert getattr(explained, field).ToMilliseconds() == 1_790_000_000_000
    assert explained.ensure_now == reason
    assert history(explained) == [("msg_deleted", "deleted")]


async def test_what_is_not_applied_has_a_rule_too(stack: Stack) -> None:
    """Quarantined and ignored deliveries are in the ledger with the rule that decided."""
    await stack.post(b'{"type": "user.deleted", "data": {}}', svix_id="msg_quarantined")
    await stack.post({"type": "session.created", "data": {}}, svix_id="msg_ignored")

    rows = await stack.rows("select svix_id, event_type, outcome, rule, times_applied from clerksync.webhook_delivery")

    expected: list[tuple[Any, ...]] = [
        ("msg_ignored", "session.created", "ignored", "other_type", 0),
        ("msg_quarantined", "user.deleted", "quarantined", "not_understood", 0),
    ]
    assert sorted(tuple(row.values()) for row in rows) == expected


async def test_applied_once(stack: Stack) -> None:
    """A counter in the ledger shows that a delivery's facts were joined once, however often it came."""
    body = bodies.membership("created", ADA, ORG, at=now_ms(), joined_at=now_ms())
    for _ in range(3):
        await stack.post(body, svix_id="msg_1")

    assert await stack.rows("select times_applied from clerksync.webhook_delivery") == [{"times_applied": 1}]
