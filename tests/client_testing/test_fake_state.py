"""What authors of tests make happen in the fake's Clerk, and what its callers are answered."""

import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from client_testing.callers import CREATED, EXISTED, Caller, failure, profile_request, told

from clerksync.testing import FakeSyncService
from clerksync.v1 import sync_service_pb2

ADA, ORG = "user_ada", "org_1"


def refusal(call: object) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()  # type: ignore[operator]
    code, reason, _ = failure(caught.value)
    assert code == "FAILED_PRECONDITION"
    return reason


def test_a_member_has_a_profile(fake: FakeSyncService, caller: Caller) -> None:
    """Who has joined is found, with the role; the row that the caller gets is the row that the test sees."""
    fake.join(ADA, ORG, role="org:admin")

    response = caller.ensure(ADA, ORG)

    profile = fake.profile(ADA, ORG)
    assert profile is not None
    assert (EXISTED, "org:admin", profile.id) == (
        response.outcome,
        response.user_profile.role,
        response.user_profile.id,
    )
    assert (profile.role, profile.clerk_membership_id) == ("org:admin", response.user_profile.clerk_membership_id)


def test_ensure_makes_both_rows(fake: FakeSyncService, caller: Caller) -> None:
    """Whom no event has told of gets a provisional profile and a placeholder, once; a membership confirms the row."""
    outcomes = [caller.ensure(ADA, ORG).outcome for _ in range(2)]
    made, placeholder = fake.profile(ADA, ORG), fake.organization_row(ORG)
    fake.join(ADA, ORG)
    fake.rename_organization(ORG, "Acme Inc", slug="acme")
    confirmed, named = fake.profile(ADA, ORG), fake.organization_row(ORG)

    assert [CREATED, EXISTED] == outcomes
    assert made is not None
    assert confirmed is not None
    assert placeholder is not None
    assert named is not None
    assert (True, None) == (made.is_provisional, made.role)
    assert (made.id, made.created_at, False, "org:member") == (
        confirmed.id,
        confirmed.created_at,
        confirmed.is_provisional,
        confirmed.role,
    )
    assert made.updated_at <= confirmed.updated_at
    assert (ORG, True) == (placeholder.name, placeholder.is_placeholder)
    assert ("Acme Inc", "acme", False, placeholder.id) == (named.name, named.slug, named.is_placeholder, named.id)


def test_the_last_of_many_events_wins(fake: FakeSyncService) -> None:
    """Events that follow each other at once count in their order, however many fall into one millisecond."""
    for number in range(300):
        fake.join(ADA, ORG, role=f"org:{number}")
        fake.rename_organization(ORG, f"name {number}")
    after_joining = fake.profile(ADA, ORG)
    organization = fake.organization_row(ORG)
    for _ in range(300):
        fake.remove(ADA, ORG)
        assert fake.profile(ADA, ORG) is None
        fake.join(ADA, ORG)
        assert fake.profile(ADA, ORG) is not None

    assert after_joining is not None
    assert organization is not None
    assert ("org:299", "name 299") == (after_joining.role, organization.name)


def test_removed_members_do_not_come_back(fake: FakeSyncService, caller: Caller) -> None:
    """A token from before a removal is refused, one from after it is let in, and so is who has joined again."""
    now = datetime.now(UTC)
    now_ms = int(now.timestamp() * 1000)
    for user in (ADA, "user_bob"):
        fake.join(user, ORG, at=now - timedelta(hours=1))
        fake.remove(user, ORG, at=now - timedelta(seconds=30))

    assert "MEMBERSHIP_REMOVED" == refusal(lambda: caller.ensure(ADA, ORG))
    assert "MEMBERSHIP_REMOVED" == refusal(lambda: caller.ensure(ADA, ORG, now_ms - 40_000))
    assert CREATED == caller.ensure(ADA, ORG, now_ms - 20_000).outcome
    fake.join("user_bob", ORG)
    assert EXISTED == caller.ensure("user_bob", ORG).outcome


def test_events_that_are_too_old_change_nothing(fake: FakeSyncService) -> None:
    """A membership that began before the one that has ended stays away; one that began later is there."""
    now = datetime.now(UTC)
    fake.join(ADA, ORG, at=now - timedelta(hours=1))
    fake.remove(ADA, ORG, at=now)

    there = []
    for joined_at in (now - timedelta(hours=2), now - timedelta(minutes=30)):
        fake.join(ADA, ORG, at=joined_at)
        there.append(fake.profile(ADA, ORG) is not None)

    assert [False, True] == there


def test_deletions_are_final(fake: FakeSyncService, caller: Caller) -> None:
    """Deleted users and organizations are refused, each with its own reason, and take their profiles along."""
    for org in (ORG, "org_2"):
        fake.join(ADA, org)
        fake.join("user_bob", org)
    fake.delete_user(ADA)
    fake.delete_organization("org_2")
    later_ms = time.time_ns() // 1_000_000 + 1_000

    assert "USER_DELETED" == refusal(lambda: caller.ensure(ADA, ORG, later_ms))
    assert "ORGANIZATION_DELETED" == refusal(lambda: caller.ensure("user_bob", "org_2", later_ms))
    assert "ORGANIZATION_DELETED" == refusal(lambda: caller.organization("org_2", later_ms))
    assert [True, False, False, False] == [
        fake.profile(user, org) is not None
        for user, org in (("user_bob", ORG), (ADA, ORG), (ADA, "org_2"), ("user_bob", "org_2"))
    ]
    assert fake.organization_row("org_2") is None


def test_batches(fake: FakeSyncService, caller: Caller) -> None:
    """Each request of a batch has its own outcome, in order; of the same pair exactly one is created."""
    fake.join(ADA, ORG)
    fake.delete_user("user_gone")

    results = caller.batch(
        profile_request(ADA, ORG),
        profile_request("user_new", ORG),
        profile_request("user_new", ORG),
        profile_request("user_gone", ORG),
        profile_request("", "with space"),
    ).results

    assert [EXISTED, CREATED, EXISTED] == [result.response.outcome for result in results[:3]]
    assert [
        ("FAILED_PRECONDITION", "USER_DELETED", []),
        ("INVALID_ARGUMENT", "INVALID_FIELD", ["clerk_org_id", "clerk_user_id"]),
    ] == [told(result.error) for result in results[3:]]


@pytest.mark.parametrize("size", [0, 1_001])
def test_sizes_of_batches(caller: Caller, size: int) -> None:
    """A batch of none, or of more than 1,000, fails as a whole."""
    with pytest.raises(grpc.RpcError) as caught:
        caller.batch(*[profile_request(ADA, ORG)] * size)

    assert ("INVALID_ARGUMENT", "INVALID_FIELD", ["requests"]) == failure(caught.value)


def test_what_was_asked(fake: FakeSyncService, caller: Caller) -> None:
    """Calls are told in their order with how many they asked for; a pair is counted in batches too; reset forgets."""
    caller.ensure(ADA, ORG)
    caller.batch(profile_request(ADA, ORG), profile_request("user_bob", ORG))
    caller.organization(ORG)
    calls, counts = fake.calls, [fake.times_asked(user, ORG) for user in (ADA, "user_bob", "user_eve")]
    fake.reset()

    assert [("EnsureUserProfile", 1), ("BatchEnsureUserProfiles", 2), ("EnsureOrganization", 1)] == calls
    assert [2, 1, 0] == counts
    assert ([], 0, None, None) == (
        fake.calls,
        fake.times_asked(ADA, ORG),
        fake.profile(ADA, ORG),
        fake.organization_row(ORG),
    )


def test_other_methods_are_not_there(caller: Caller) -> None:
    """The methods that sibling services do not call are UNIMPLEMENTED."""
    with pytest.raises(grpc.RpcError) as caught:
        caller.sync.ApplyClerkEvent(sync_service_pb2.ApplyClerkEventRequest(), timeout=5)

    assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()


def test_mistakes_of_the_author(fake: FakeSyncService) -> None:
    """Ids, names and times that cannot be are refused where they are given, and the text says what is wrong."""
    with pytest.raises(ValueError, match="clerk_org_id is missing"):
        fake.join(ADA, "")
    with pytest.raises(ValueError, match="clerk_user_id is ill-formed"):
        fake.delete_user("user ada")
    with pytest.raises(ValueError, match="name is empty"):
        fake.rename_organization(ORG, "")
    with pytest.raises(ValueError, match="no time zone"):
        fake.remove(ADA, ORG, at=datetime(2026, 1, 1))  # noqa: DTZ001
