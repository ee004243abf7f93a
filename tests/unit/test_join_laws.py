"""The laws of the joins: order, grouping and repetition of facts cannot matter."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clerksync_server.rules.decisions import Effect
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
from clerksync_server.rules.registers import (
    OrganizationRegister,
    PairRegister,
    Tombstone,
    UserRegister,
    join_organizations,
    join_pairs,
    join_tombstones,
    join_users,
    organization_of,
    pair_of,
    user_of,
)
from clerksync_server.rules.world import PairKey, Profile, World

ORGS, USERS = ("org_1", "org_2"), ("user_1", "user_2")
PAIRS: list[PairKey] = [(user, org) for user in USERS for org in ORGS]

# Times and contents are drawn from so few that they are equal more often than not.
times = st.integers(1, 4)
versions = st.builds(Version, times, times)
generations = st.builds(Generation, times, st.sampled_from(["orgmem_a", "orgmem_b"]))
absences = st.builds(Generation, times, st.just(""))
# Decoding turns an empty text into None, so no fact holds one.
texts = st.sampled_from([None, "a", "b"])


def kinds_of_facts(user_ids: Sequence[str], org_ids: Sequence[str]) -> dict[type, st.SearchStrategy[Any]]:
    """Facts of every kind, about few subjects."""
    users, orgs = st.sampled_from(user_ids), st.sampled_from(org_ids)
    names = st.sampled_from(["A", "B"])
    return {
        OrganizationSnapshot: st.builds(OrganizationSnapshot, orgs, names, texts, texts, st.none() | times, versions),
        OrganizationMention: st.builds(OrganizationMention, orgs),
        OrganizationDeleted: st.builds(OrganizationDeleted, orgs, times),
        UserSeen: st.builds(UserSeen, users),
        UserDeleted: st.builds(UserDeleted, users, times),
        MembershipSnapshot: st.builds(MembershipSnapshot, users, orgs, generations, versions, texts),
        MembershipEnded: st.builds(MembershipEnded, users, orgs, generations | absences, times),
    }


ONE_SUBJECT = kinds_of_facts(USERS[:1], ORGS[:1])
SUBJECTS = kinds_of_facts(USERS, ORGS)
# Deletions are final: drawn as often as the rest, they would leave little to look at.
facts: st.SearchStrategy[Fact] = st.one_of(
    *(SUBJECTS[kind] for kind in (MembershipSnapshot, MembershipEnded, OrganizationSnapshot) for _ in range(3)),
    *SUBJECTS.values(),
)


class Ensure(NamedTuple):
    """A call of EnsureUserProfile with evidence of this time."""

    key: PairKey
    evidence_ms: int


class Register(NamedTuple):
    """One kind of register: what is known before any fact, how two are joined, and those that facts can lead to."""

    empty: Any
    join: Callable[[Any, Any], Any]
    reachable: st.SearchStrategy[Any]


def register(empty: Any, of: Callable[[Any], Any], join: Callable[[Any, Any], Any], kinds: Sequence[type]) -> Register:
    told = st.lists(st.one_of(*(ONE_SUBJECT[kind] for kind in kinds)), max_size=3)
    return Register(empty, join, told.map(lambda facts: reduce(join, map(of, facts), empty)))


REGISTERS = {
    "organization": register(
        OrganizationRegister(),
        organization_of,
        join_organizations,
        [OrganizationSnapshot, OrganizationMention, OrganizationDeleted],
    ),
    "user": register(UserRegister(), user_of, join_users, [UserSeen, UserDeleted]),
    "pair": register(PairRegister(), pair_of, join_pairs, [MembershipSnapshot, MembershipEnded]),
}
each_register = pytest.mark.parametrize("register", REGISTERS.values(), ids=REGISTERS.keys())


@each_register
@given(data=st.data())
@settings(max_examples=300)
def test_joins_are_associative(register: Register, data: st.DataObject) -> None:
    """However the registers are grouped, they join to the same."""
    a, b, c = (data.draw(register.reachable) for _ in range(3))

    assert register.join(register.join(a, b), c) == register.join(a, register.join(b, c))


@each_register
@given(data=st.data())
@settings(max_examples=300)
def test_joins_are_commutative(register: Register, data: st.DataObject) -> None:
    """Whichever of two registers comes first, they join to the same."""
    a, b = (data.draw(register.reachable) for _ in range(2))

    assert register.join(a, b) == register.join(b, a)


@each_register
@given(data=st.data())
@settings(max_examples=200)
def test_joins_are_idempotent(register: Register, data: st.DataObject) -> None:
    """Joining what is known already, or nothing, changes nothing."""
    a, b = (data.draw(register.reachable) for _ in range(2))
    joined = register.join(a, b)

    assert a == register.join(a, a)
    assert a == register.join(a, register.empty)
    assert joined == register.join(joined, b)


@given(a=ONE_SUBJECT[MembershipEnded], b=ONE_SUBJECT[MembershipEnded])
def test_a_tombstone_keeps_the_highest_of_each(a: MembershipEnded, b: MembershipEnded) -> None:
    """The highest generation and the latest removal may come from two different removals."""
    joined = join_tombstones(pair_of(a).tombstone, pair_of(b).tombstone)

    assert Tombstone(max(a.through, b.through), max(a.removed_at_ms, b.removed_at_ms)) == joined


@given(told=st.lists(facts, max_size=10), data=st.data())
@settings(max_examples=400)
def test_every_order_and_repetition_ends_in_the_same_rows(told: list[Fact], data: st.DataObject) -> None:
    """Facts applied in any order, some of them again, leave the same rows, tombstones and deletions."""
    repeated = data.draw(st.lists(st.sampled_from(told), max_size=4)) if told else []
    shuffled = data.draw(st.permutations(told + repeated))

    assert rows(applied(told)) == rows(applied(shuffled))


@given(told=st.lists(facts, max_size=12))
@settings(max_examples=400)
def test_rows_are_what_all_facts_tell_at_once(told: list[Fact]) -> None:
    """One fact after the other ends where a look at all of them together ends."""
    world = applied(told)

    for key in PAIRS:
        assert profile_told_by(told, key) == world.profile(key)


@given(told=st.lists(facts, min_size=1, max_size=10), data=st.data())
@settings(max_examples=300)
def test_a_repeat_is_stale(told: list[Fact], data: st.DataObject) -> None:
    """A fact that has been applied before tells nothing new, whatever came in between."""
    world = applied(told)
    repeated = data.draw(st.sampled_from(told))
    again = world.apply(repeated).effect

    if not isinstance(repeated, UserSeen):
        assert again is Effect.STALE


@given(told=st.lists(facts, max_size=10), fact=facts)
@settings(max_examples=400)
def test_a_stale_fact_changes_no_row(told: list[Fact], fact: Fact) -> None:
    """What is called stale has left every organization and profile as it was."""
    world = applied(told)
    before = visible(world)
    effect = world.apply(fact).effect

    if effect is Effect.STALE:
        assert before == visible(world)


@given(received=st.lists(facts | st.builds(Ensure, st.sampled_from(PAIRS), times), max_size=12))
@settings(max_examples=400)
def test_ensure_in_between_only_fills_what_is_missing(received: list[Fact | Ensure]) -> None:
    """Wherever calls come in between, members stay as facts tell, and nobody is there on evidence that was refuted."""
    world = World()
    for one in received:
        if isinstance(one, Ensure):
            world.ensure_user_profile(one.key, evidence_ms=one.evidence_ms, oldest_ms=0)
        else:
            world.apply(one)
    told = [one for one in received if not isinstance(one, Ensure)]

    for key in PAIRS:
        profile = world.profile(key)
        if profile is None or profile.membership is not None:
            assert profile_told_by(told, key) == profile
        else:
            removals = [fact.removed_at_ms for fact in told if isinstance(fact, MembershipEnded) and pair(fact) == key]
            assert profile_told_by(told, key) is None
            assert profile.evidence_ms is not None
            assert max(removals, default=0) < profile.evidence_ms
            assert Ensure(key, profile.evidence_ms) in received
            assert world.organizations[key[1]].exists


def pair(fact: MembershipEnded) -> PairKey:
    return fact.clerk_user_id, fact.clerk_org_id


def applied(told: Sequence[Fact]) -> World:
    world = World()
    for fact in told:
        world.apply(fact)
    return world


def visible(world: World) -> Any:
    """The rows that applications read."""
    organizations = {org: world.organizations.get(org, OrganizationRegister()) for org in ORGS}
    named = {org: register.snapshot for org, register in organizations.items() if register.exists}
    return named, {key: world.profile(key) for key in PAIRS}


def rows(world: World) -> Any:
    """All rows: those that applications read, and what is remembered of removals and deletions."""
    return visible(world), world.organizations, world.users, world.pairs


def profile_told_by(told: Sequence[Fact], key: PairKey) -> Profile | None:
    """The rules of membership, put as one look at everything that was told."""
    user, org = key
    living = []
    through = Generation(0, "")
    for fact in told:
        match fact:
            case OrganizationDeleted(clerk_org_id) if clerk_org_id == org:
                return None
            case UserDeleted(clerk_user_id) if clerk_user_id == user:
                return None
            case MembershipEnded(u, o) if (u, o) == key:
                through = max(through, fact.through)
            case MembershipSnapshot(u, o) if (u, o) == key:
                living.append(fact)
    living = [membership for membership in living if membership.generation > through]
    if not living:
        return None
    best = max(living, key=lambda m: (m.generation, m.version.updated_at_ms, m.version.event_at_ms, m.role or ""))
    return Profile(membership=best, evidence_ms=None)
