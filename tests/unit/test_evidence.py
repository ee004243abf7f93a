"""Ensure is evidence: it makes what is missing and may be made, and nothing else."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from clerksync_server.rules.decisions import Rule
from clerksync_server.rules.evidence import LEEWAY_MS, EvidencePolicy, Verdict
from clerksync_server.rules.facts import (
    Fact,
    Generation,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationMention,
    OrganizationSnapshot,
    UserDeleted,
    UserSeen,
    Version,
)
from clerksync_server.rules.world import Profile, World

USER, ORG = "user_1", "org_1"
KEY = (USER, ORG)
NOW, OLDEST = 1_000_000, 500_000
JOINED, REMOVED = 600_000, 700_000
POLICY = EvidencePolicy(max_token_age_ms=60_000, retention_ms=400_000)

MEMBER = MembershipSnapshot(USER, ORG, Generation(JOINED, "orgmem_1"), Version(JOINED, JOINED), "org:member")
LEFT = MembershipEnded(USER, ORG, Generation(JOINED, "orgmem_1"), REMOVED)
NEXT_MEMBER = MembershipSnapshot(USER, ORG, Generation(800_000, "orgmem_2"), Version(800_000, 800_000), "org:admin")
NAMED = OrganizationSnapshot(ORG, "Acme", None, None, None, Version(JOINED, JOINED))


def world_of(*facts: Fact, evidence_ms: int | None = None) -> World:
    """What the facts lead to, after a call of Ensure that came before all of them."""
    world = World()
    if evidence_ms is not None:
        world.ensure_user_profile(KEY, evidence_ms=evidence_ms, oldest_ms=OLDEST)
    for fact in facts:
        world.apply(fact)
    return world


def ensure(world: World, evidence_ms: int) -> Verdict:
    return world.ensure_user_profile(KEY, evidence_ms=evidence_ms, oldest_ms=OLDEST)


def provisional(evidence_ms: int) -> Profile:
    return Profile(membership=None, evidence_ms=evidence_ms)


@pytest.mark.parametrize(
    ("issued_at", "evidence"),
    [
        pytest.param(NOW - 30_000, NOW - 30_000, id="the token's own time"),
        pytest.param(0, 0, id="a token of the epoch"),
        pytest.param(NOW, NOW, id="issued now"),
        pytest.param(NOW + 1, NOW, id="issued in the future counts as of now"),
        pytest.param(NOW * 1000, NOW, id="far in the future counts as of now"),
        pytest.param(None, NOW - 65_000, id="without a time: as old as tokens get, and a leeway more"),
    ],
)
def test_the_time_that_a_call_proves(issued_at: int | None, evidence: int) -> None:
    """Evidence is as of the token's issue, never later than now, and without a time as old as a token can be."""
    assert evidence == POLICY.evidence_ms(now_ms=NOW, token_issued_at_ms=issued_at)


def test_the_leeway_is_five_seconds() -> None:
    """Clocks may differ by what Clerk's own libraries allow."""
    assert LEEWAY_MS == 5_000


def test_the_oldest_evidence_follows_the_retention() -> None:
    """Evidence counts for as long as removals are remembered."""
    assert POLICY.oldest_ms(now_ms=NOW) == NOW - 400_000


def test_a_missing_profile_is_made_with_its_organization() -> None:
    """One call makes both rows: a provisional profile that carries its evidence, and a placeholder."""
    world = World()
    verdict = ensure(world, 900_000)

    assert verdict is Verdict.CREATE
    assert provisional(900_000) == world.profile(KEY)
    assert world.organizations[ORG].exists
    assert world.organizations[ORG].snapshot is None


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: world_of(NAMED, MEMBER), id="confirmed"),
        pytest.param(lambda: world_of(evidence_ms=900_000), id="provisional"),
        pytest.param(lambda: world_of(MEMBER, LEFT, NEXT_MEMBER), id="joined again"),
    ],
)
@pytest.mark.parametrize("evidence_ms", [0, REMOVED, 900_001, NOW])
def test_what_exists_is_left_as_it_is(make: Callable[[], World], evidence_ms: int) -> None:
    """A row that exists is answered as such, and nothing at all is written, however old or new the token."""
    world = make()
    before = deepcopy(world)
    verdict = ensure(world, evidence_ms)

    assert verdict is Verdict.EXISTED
    assert before == world


@pytest.mark.parametrize(
    ("facts", "evidence_ms", "verdict"),
    [
        pytest.param((MEMBER, LEFT), REMOVED - 1, Verdict.MEMBERSHIP_REMOVED, id="before the removal"),
        pytest.param((MEMBER, LEFT), REMOVED, Verdict.MEMBERSHIP_REMOVED, id="in the moment of the removal"),
        pytest.param((LEFT,), REMOVED, Verdict.MEMBERSHIP_REMOVED, id="removed, the joining unknown"),
        pytest.param((UserDeleted(USER, 1),), NOW, Verdict.USER_DELETED, id="the user deleted"),
        pytest.param((MEMBER, UserDeleted(USER, 1)), NOW, Verdict.USER_DELETED, id="a member deleted"),
        pytest.param((OrganizationDeleted(ORG, 1),), NOW, Verdict.ORGANIZATION_DELETED, id="organization deleted"),
        pytest.param((UserDeleted(USER, 1), OrganizationDeleted(ORG, 1)), NOW, Verdict.USER_DELETED, id="both deleted"),
        pytest.param((), OLDEST - 1, Verdict.EVIDENCE_TOO_OLD, id="older than removals are remembered"),
    ],
)
def test_a_refusal_writes_nothing(facts: tuple[Fact, ...], evidence_ms: int, verdict: Verdict) -> None:
    """A removed member, a deleted user or organization, and evidence that is too old leave everything as it is."""
    world = world_of(*facts)
    before = deepcopy(world)
    refusal = ensure(world, evidence_ms)

    assert verdict is refusal
    assert before == world


@pytest.mark.parametrize(
    ("facts", "evidence_ms"),
    [
        pytest.param((MEMBER, LEFT), REMOVED + 1, id="a token from after the removal"),
        pytest.param((), OLDEST, id="the oldest evidence that counts"),
        pytest.param((UserSeen(USER), NAMED), NOW, id="user and organization known"),
    ],
)
def test_what_nothing_speaks_against_is_made(facts: tuple[Fact, ...], evidence_ms: int) -> None:
    """Evidence younger than the removal, and as young as it has to be, makes a provisional profile."""
    world = world_of(*facts)
    verdict = ensure(world, evidence_ms)

    assert verdict is Verdict.CREATE
    assert provisional(evidence_ms) == world.profile(KEY)


@pytest.mark.parametrize(
    ("now_ms", "verdict"), [(REMOVED + 65_000, Verdict.MEMBERSHIP_REMOVED), (REMOVED + 65_001, Verdict.CREATE)]
)
def test_without_a_time_a_removal_holds_for_the_life_of_a_token(now_ms: int, verdict: Verdict) -> None:
    """A call without `iat` is refused until every token from before the removal has run out."""
    world = world_of(MEMBER, LEFT)
    evidence_ms = POLICY.evidence_ms(now_ms=now_ms, token_issued_at_ms=None)

    assert verdict is ensure(world, evidence_ms)


def test_a_membership_replaces_a_provisional_profile() -> None:
    """The first living snapshot makes the row Clerk's, and the evidence is spent, even if the membership is older."""
    world = world_of(evidence_ms=900_000)
    rule = world.apply(MEMBER)

    assert rule is Rule.NEWER
    assert Profile(membership=MEMBER, evidence_ms=None) == world.profile(KEY)
    assert not world.evidence


def test_a_dead_membership_leaves_a_provisional_profile() -> None:
    """A late snapshot of an earlier life confirms nothing about the present."""
    world = world_of(MEMBER, LEFT)
    ensure(world, REMOVED + 1)
    rule = world.apply(MEMBER)

    assert rule is Rule.MEMBERSHIP_ENDED
    assert provisional(REMOVED + 1) == world.profile(KEY)


@pytest.mark.parametrize(
    ("evidence_ms", "left"),
    [(REMOVED - 1, None), (REMOVED, None), (REMOVED + 1, provisional(REMOVED + 1))],
)
def test_a_removal_deletes_provisional_profiles_up_to_its_time(evidence_ms: int, left: Profile | None) -> None:
    """Evidence from before the removal, or of its very moment, falls; what Clerk vouched for afterwards stays."""
    world = world_of(LEFT, evidence_ms=evidence_ms)

    assert left == world.profile(KEY)


@pytest.mark.parametrize("fact", [UserDeleted(USER, 1), OrganizationDeleted(ORG, 1)])
def test_deletions_take_provisional_profiles_along(fact: Fact) -> None:
    """Deleting is final, so it does not matter how young the evidence is."""
    world = world_of(fact, evidence_ms=NOW)

    assert world.profile(KEY) is None


@pytest.mark.parametrize(
    ("facts", "evidence_ms", "verdict"),
    [
        ((), NOW, Verdict.CREATE),
        ((), OLDEST, Verdict.CREATE),
        ((), OLDEST - 1, Verdict.EVIDENCE_TOO_OLD),
        ((OrganizationMention(ORG),), 0, Verdict.EXISTED),
        ((NAMED,), NOW, Verdict.EXISTED),
        ((NAMED, OrganizationDeleted(ORG, 1)), NOW, Verdict.ORGANIZATION_DELETED),
        ((OrganizationDeleted(ORG, 1),), NOW, Verdict.ORGANIZATION_DELETED),
    ],
)
def test_ensure_organization(facts: tuple[Fact, ...], evidence_ms: int, verdict: Verdict) -> None:
    """A placeholder is made where there is none and none was deleted; nothing else is written."""
    world = world_of(*facts)
    before = deepcopy(world)
    answer = world.ensure_organization(ORG, evidence_ms=evidence_ms, oldest_ms=OLDEST)

    assert verdict is answer
    assert (verdict is Verdict.CREATE) == (before != world)
    assert (answer in {Verdict.CREATE, Verdict.EXISTED}) == (
        ORG in world.organizations and world.organizations[ORG].exists
    )
