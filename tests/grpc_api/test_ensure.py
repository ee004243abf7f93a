"""EnsureUserProfile and EnsureOrganization: make what is missing, and nothing else."""

import asyncio
from typing import Any

import bodies
import grpc
import pytest
from stack import Stack, error_info, now_ms

from clerksync.v1 import sync_service_pb2

ADA, ORG = "user_ada", "org_1"
CREATED, EXISTED = sync_service_pb2.ENSURE_OUTCOME_CREATED, sync_service_pb2.ENSURE_OUTCOME_EXISTED


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_info(caught.value).reason


async def everything(stack: Stack) -> list[list[object]]:
    """All rows of all tables: what a call that writes nothing leaves alone."""
    tables = (
        "public.organization",
        "public.user_profile",
        "clerksync.membership_tombstone",
        "clerksync.deleted_entity",
    )
    return [list(await stack.rows(f"select * from {table} order by 1")) for table in tables]


async def test_makes_both_rows(stack: Stack) -> None:
    """One call makes the profile and the organization: provisional the one, a placeholder the other."""
    issued_at = now_ms() // 1000 * 1000 - 5_000

    response = await stack.ensure_profile(ADA, ORG, issued_at)

    assert response.outcome == CREATED
    assert (response.user_profile.clerk_user_id, response.user_profile.clerk_org_id) == (ADA, ORG)
    assert not response.user_profile.HasField("role")
    assert not response.user_profile.HasField("clerk_membership_id")
    (profile,) = await stack.rows("select id::text, extract(epoch from evidence_at) * 1000 as e from user_profile")
    assert {"id": response.user_profile.id, "e": issued_at} == profile
    assert await stack.rows("select name, is_placeholder from organization") == [{"name": ORG, "is_placeholder": True}]


async def test_never_overwrites(stack: Stack) -> None:
    """What exists is returned as it is, and nothing is written, however old or young the token."""
    t = now_ms() - 60_000
    await stack.post(bodies.organization("created", ORG, at=t))
    await stack.post(bodies.membership("created", ADA, ORG, at=t, joined_at=t, role="org:admin"))
    await stack.ensure_profile("user_bob", ORG, t)
    before = await everything(stack)

    for user in (ADA, "user_bob"):
        for issued_at in (None, t - 10**12, now_ms()):
            assert (await stack.ensure_profile(user, ORG, issued_at)).outcome == EXISTED
    organization = await stack.ensure_organization(ORG)

    assert (organization.outcome, organization.organization.name) == (EXISTED, "Acme Inc")
    assert before == await everything(stack)


async def test_a_hundred_racing_callers(stack: Stack) -> None:
    """Of a hundred concurrent calls exactly one creates; all get the same row."""
    responses = await asyncio.gather(*(stack.ensure_profile(ADA, ORG) for _ in range(100)))
    organizations = await asyncio.gather(*(stack.ensure_organization("org_2") for _ in range(100)))

    for answers in (responses, organizations):
        assert sum(answer.outcome == CREATED for answer in answers) == 1
        assert sum(answer.outcome == EXISTED for answer in answers) == 99
    assert len({response.user_profile.id for response in responses}) == 1
    assert await stack.rows("select count(*) from user_profile") == [{"count": 1}]
    assert await stack.rows("select count(*) from organization") == [{"count": 2}]


async def test_a_membership_confirms_a_provisional_profile(stack: Stack) -> None:
    """The first membership event replaces what Ensure made; the row stays the same row."""
    t = now_ms() - 10_000
    made = await stack.ensure_profile(ADA, ORG, t)

    answer = await stack.post(bodies.membership("created", ADA, ORG, at=t - 5_000, joined_at=t - 5_000))
    confirmed = await stack.ensure_profile(ADA, ORG)

    assert answer.outcome == "applied"
    assert made.user_profile.id == confirmed.user_profile.id
    assert confirmed.user_profile.role == "org:member"
    assert await stack.rows("select evidence_at from user_profile") == [{"evidence_at": None}]


async def test_removed_members_do_not_come_back(stack: Stack) -> None:
    """A token issued before the removal, in the moment of it, or at an unknown time is refused; nothing is written."""
    removed_at = now_ms() // 1000 * 1000
    joined_at = removed_at - 60_000
    await stack.post(bodies.membership("deleted", ADA, ORG, at=removed_at, joined_at=joined_at))
    before = await everything(stack)

    for issued_at in (removed_at - 60_000, removed_at - 1, removed_at, None):
        answer = await refusal(stack.ensure_profile(ADA, ORG, issued_at))
        assert answer == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBERSHIP_REMOVED")
    assert before == await everything(stack)


async def test_a_token_from_after_the_removal(stack: Stack) -> None:
    """Clerk issues tokens for present members only, so a younger token brings the profile back."""
    removed_at = now_ms() - 30_000
    await stack.post(bodies.membership("deleted", ADA, ORG, at=removed_at, joined_at=removed_at - 60_000))

    response = await stack.ensure_profile(ADA, ORG, removed_at + 1)

    assert response.outcome == CREATED


async def test_without_iat_the_token_counts_as_old_as_tokens_get(stack: Stack) -> None:
    """A removal longer ago than tokens live does not stand in the way; a younger one does."""
    t = now_ms()
    await stack.post(bodies.membership("deleted", ADA, ORG, at=t - 80_000, joined_at=t - 200_000))
    await stack.post(bodies.membership("deleted", "user_bob", ORG, at=t - 50_000, joined_at=t - 200_000))

    assert (await stack.ensure_profile(ADA, ORG)).outcome == CREATED
    assert (await refusal(stack.ensure_profile("user_bob", ORG)))[1] == "MEMBERSHIP_REMOVED"


async def test_a_later_removal_ends_a_provisional_profile(stack: Stack) -> None:
    """A removal deletes a provisional profile whose evidence is not younger, and leaves one whose evidence is."""
    t = now_ms() // 1000 * 1000 - 60_000
    for user, issued_at in (("user_before", t - 1), ("user_at", t), ("user_after", t + 1)):
        await stack.ensure_profile(user, ORG, issued_at)
        await stack.post(bodies.membership("deleted", user, ORG, at=t, joined_at=t - 100_000))

    assert await stack.rows("select clerk_user_id from user_profile") == [{"clerk_user_id": "user_after"}]


async def test_deleted_users_and_organizations(stack: Stack) -> None:
    """A deleted user or organization is refused whatever the token says, each with its own reason."""
    t = now_ms() - 60_000
    await stack.post(bodies.user("deleted", ADA, at=t))
    await stack.post(bodies.organization("deleted", "org_gone", at=t))
    before = await everything(stack)

    assert (await refusal(stack.ensure_profile(ADA, ORG, now_ms())))[1] == "USER_DELETED"
    assert (await refusal(stack.ensure_profile("user_bob", "org_gone", now_ms())))[1] == "ORGANIZATION_DELETED"
    assert (await refusal(stack.ensure_organization("org_gone", now_ms())))[1] == "ORGANIZATION_DELETED"
    assert before == await everything(stack)


async def test_evidence_older_than_tombstones_are_kept(stack: Stack) -> None:
    """A token older than removals are remembered proves nothing."""
    days_91 = now_ms() - 91 * 24 * 3600 * 1000

    for call in (stack.ensure_profile(ADA, ORG, days_91), stack.ensure_organization(ORG, days_91)):
        assert await refusal(call) == (grpc.StatusCode.FAILED_PRECONDITION, "EVIDENCE_TOO_OLD")
    assert (await stack.ensure_profile(ADA, ORG, days_91 + 2 * 24 * 3600 * 1000)).outcome == CREATED


async def test_a_token_from_the_future_counts_as_of_now(stack: Stack) -> None:
    """Evidence from the future would outlive removals that are yet to come."""
    await stack.ensure_profile(ADA, ORG, now_ms() + 3_600_000)

    await stack.post(bodies.membership("deleted", ADA, ORG, at=now_ms() + 1, joined_at=now_ms() - 60_000))

    assert await stack.rows("select id from user_profile") == []


async def test_ensure_organization(stack: Stack) -> None:
    """An organization is made as a placeholder, filled by its event, and found from then on."""
    made = await stack.ensure_organization(ORG)
    await stack.post(bodies.organization("created", ORG, at=now_ms() - 10**9, slug=None))
    found = await stack.ensure_organization(ORG)

    assert (made.outcome, made.organization.is_placeholder, made.organization.name) == (CREATED, True, ORG)
    assert (found.outcome, found.organization.is_placeholder, found.organization.name) == (EXISTED, False, "Acme Inc")
    assert made.organization.id == found.organization.id
    assert not found.organization.HasField("slug")
