"""Small histories, delivered in every order: each ends where Clerk is."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import pytest

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
from clerksync_server.rules.world import PairKey, World

ADA, BOB, ORG, OTHER = "user_ada", "user_bob", "org_1", "org_2"
OLDEST_MS = 0


@dataclass(frozen=True)
class Ensure:
    """A call of EnsureUserProfile with evidence of this time."""

    key: PairKey
    evidence_ms: int


Event = tuple[Fact, ...]
"""A delivery. That of a membership tells of its organization too."""
Input = Event | Ensure


@dataclass(frozen=True)
class Ends:
    """Where Clerk is: who is a member in which role, and each organization's name, None while only its id is known."""

    roles: dict[PairKey, str | None]
    names: dict[str, str | None]


def organization(name: str, at: int, event_at: int | None = None, org: str = ORG) -> Event:
    return (OrganizationSnapshot(org, name, None, None, 1, Version(at, at if event_at is None else event_at)),)


def organization_deleted(at: int, org: str = ORG) -> Event:
    return (OrganizationDeleted(org, at),)


def mention(org: str = ORG) -> Event:
    return (OrganizationMention(org),)


def user_deleted(at: int, user: str = ADA) -> Event:
    return (UserDeleted(user, at),)


def member(
    joined: int,
    role: str = "org:member",
    *,
    at: int | None = None,
    event_at: int | None = None,
    user: str = ADA,
    org: str = ORG,
    membership_id: str | None = None,
    nested: Event | None = None,
) -> Event:
    """A membership created or updated, with its organization as the event carries it."""
    updated_at = joined if at is None else at
    fact = MembershipSnapshot(
        user,
        org,
        Generation(joined, membership_id or f"orgmem_{joined}"),
        Version(updated_at, updated_at if event_at is None else event_at),
        role,
    )
    return (*(nested or mention(org)), fact)


def left(joined: int, at: int, *, user: str = ADA, org: str = ORG, nested: Event | None = None) -> Event:
    return (*(nested or mention(org)), MembershipEnded(user, org, Generation(joined, f"orgmem_{joined}"), at))


def absent(at: int) -> Event:
    """The Backend API's answer: not a member at this time."""
    return (MembershipEnded(ADA, ORG, Generation(at, ""), at),)


def ensure(evidence_ms: int, *, user: str = ADA, org: str = ORG) -> Ensure:
    return Ensure((user, org), evidence_ms)


NOBODY = Ends({}, {ORG: None})
GONE = Ends({}, {})


def only_ada(role: str = "org:member", name: str | None = None) -> Ends:
    return Ends({(ADA, ORG): role}, {ORG: name})


HISTORIES: dict[str, tuple[Sequence[Input], Ends]] = {
    "join, role change, leave": ([member(10), member(10, "org:admin", at=20), left(10, 30)], NOBODY),
    "join, two role changes": (
        [member(10), member(10, "org:admin", at=20), member(10, "org:guest", at=30)],
        only_ada("org:guest"),
    ),
    "leave and join again": ([member(10), left(10, 20), member(30, "org:admin")], only_ada("org:admin")),
    "three lives, the last one ended": (
        [member(10), left(10, 20), member(30), left(30, 40), member(50), left(50, 60)],
        NOBODY,
    ),
    "three lives, the last one goes on with another role": (
        [member(10), left(10, 20), member(30), left(30, 40), member(50), member(50, "org:admin", at=60)],
        only_ada("org:admin"),
    ),
    "the old role change of an earlier life is late": (
        [member(10), member(10, "org:admin", at=15), left(10, 20), member(30)],
        only_ada(),
    ),
    "the joins were lost, the leave came": ([left(10, 20)], NOBODY),
    "the leave was lost, the next life came": ([member(10), member(30, "org:admin")], only_ada("org:admin")),
    "the leave is dated after the next life began": ([member(10), left(10, 40), member(30)], only_ada()),
    "two lives began in one millisecond": (
        [member(10, membership_id="orgmem_a"), member(10, "org:admin", membership_id="orgmem_b")],
        only_ada("org:admin"),
    ),
    "the organization is deleted": (
        [organization("A", 5), member(10), member(10, "org:admin", at=20), organization_deleted(30)],
        GONE,
    ),
    "the organization is deleted, and its memberships are told of": (
        [organization("A", 5), member(10), left(10, 29), organization_deleted(30), organization("B", 25)],
        GONE,
    ),
    "one organization of two is deleted": (
        [member(10), member(11, user=BOB, org=OTHER), organization_deleted(20), member(12, org=OTHER)],
        Ends({(BOB, OTHER): "org:member", (ADA, OTHER): "org:member"}, {OTHER: None}),
    ),
    "the user is deleted": (
        [(UserSeen(ADA),), member(10), member(12, org=OTHER), member(10, "org:admin", at=20), user_deleted(30)],
        Ends({}, {ORG: None, OTHER: None}),
    ),
    "the user is deleted, and their memberships are told of": (
        [member(10), left(10, 31), user_deleted(30), member(11, user=BOB)],
        Ends({(BOB, ORG): "org:member"}, {ORG: None}),
    ),
    "two updates within one millisecond": (
        [member(10), member(10, "org:admin", at=20, event_at=24), member(10, "org:guest", at=20, event_at=25)],
        only_ada("org:guest"),
    ),
    "two names within one millisecond": (
        [organization("A", 10), organization("B", 20, 24), organization("C", 20, 25)],
        Ends({}, {ORG: "C"}),
    ),
    "a nested organization is older than the event's own": (
        [organization("A", 10), organization("B", 20), member(30, nested=organization("A", 10, 30))],
        only_ada(name="B"),
    ),
    "a nested organization is newer than the event's own": (
        [organization("A", 10), organization("B", 20), member(30, nested=organization("C", 25, 30))],
        only_ada(name="C"),
    ),
    "the organization that a removal carries is a snapshot like any other": (
        [organization("A", 10), member(15), left(15, 40, nested=organization("B", 39, 40))],
        Ends({}, {ORG: "B"}),
    ),
    "an old name carried by a late event": (
        [member(15, nested=organization("A", 10, 15)), left(15, 40, nested=organization("A", 10, 40))],
        Ends({}, {ORG: "A"}),
    ),
    "a placeholder in between": (
        [organization("A", 10), mention(), organization("B", 20), ensure(12), member(11)],
        only_ada(name="B"),
    ),
    "absent after having joined": ([member(10), member(10, "org:admin", at=15), absent(20)], NOBODY),
    "absent between two lives": ([member(10), absent(20), member(30)], only_ada()),
    "absent, and told of the removal as well": ([member(10), absent(20), left(10, 15), member(30)], only_ada()),
    "absent until the very millisecond of joining": ([absent(30), member(30)], only_ada()),
    "a token from before the removal": ([member(10), ensure(15), left(10, 20), ensure(20)], NOBODY),
    "a token from before the answer that told of the absence": (
        [mention(), ensure(15), absent(20), ensure(20)],
        NOBODY,
    ),
    "tokens of both lives": (
        [member(10), ensure(15), left(10, 20), member(30, "org:admin"), ensure(35)],
        only_ada("org:admin"),
    ),
    "a token of the next life, whose beginning is late": (
        [ensure(35), left(10, 20), member(30), member(30, "org:admin", at=40)],
        only_ada("org:admin"),
    ),
    "tokens of a deleted user": (
        [ensure(15), user_deleted(20), ensure(25), member(10), ensure(5)],
        Ends({}, {ORG: None}),
    ),
    "tokens for a deleted organization": ([ensure(15), organization_deleted(20), ensure(25), member(10)], GONE),
    "a token, and no event has come yet": ([ensure(15), ensure(18)], Ends({(ADA, ORG): None}, {ORG: None})),
}

each_history = pytest.mark.parametrize(("history", "ends"), HISTORIES.values(), ids=HISTORIES.keys())


@each_history
def test_every_order_ends_where_clerk_is(history: Sequence[Input], ends: Ends) -> None:
    """Whatever comes first, the rows end as they are in Clerk."""
    for order in permutations(history):
        assert ends == ends_of(replayed(order)), order


@each_history
def test_every_order_with_a_repeat_ends_where_clerk_is(history: Sequence[Input], ends: Ends) -> None:
    """Whatever comes first, and whatever comes once more at the end, the rows end as they are in Clerk."""
    for order in permutations(history):
        for repeated in history:
            assert ends == ends_of(replayed((*order, repeated))), (order, repeated)


def test_snapshots_of_the_same_moment_end_alike() -> None:
    """Two contents of one version cannot be told apart by time, and still every order ends in the same one."""
    tied = [member(10, "org:admin"), member(10, "org:guest"), member(10), organization("A", 10), organization("B", 10)]
    for order in permutations(tied):
        assert only_ada("org:member", "B") == ends_of(replayed(order)), order


@pytest.mark.parametrize("with_organization", [True, False])
def test_the_next_call_heals_a_lost_join(with_organization: bool) -> None:
    """When the event of the next life never comes, a later token brings the row back, whatever the order before."""
    history: list[Input] = [member(10), left(10, 20), ensure(35)]
    if with_organization:
        history.append(organization("A", 5))
    ends = Ends({(ADA, ORG): None}, {ORG: "A" if with_organization else None})
    for order in permutations(history):
        assert ends == ends_of(replayed((*order, ensure(36)))), order


def test_nobody_who_was_removed_is_there_before_clerk_says_so() -> None:
    """From the removal until the next life is told of, there is no row, whatever old events and tokens come."""
    old: list[Input] = [member(10), member(10, "org:admin", at=15), ensure(15), ensure(20), mention()]
    for order in permutations(old):
        world = replayed((left(10, 20),))
        for received in order:
            replay(world, received)

            assert world.profile((ADA, ORG)) is None, order


def replayed(order: Sequence[Input]) -> World:
    world = World()
    for received in order:
        replay(world, received)
    return world


def replay(world: World, received: Input) -> None:
    if isinstance(received, Ensure):
        world.ensure_user_profile(received.key, evidence_ms=received.evidence_ms, oldest_ms=OLDEST_MS)
    else:
        for fact in received:
            world.apply(fact)


def ends_of(world: World) -> Ends:
    roles = {}
    for key in {*world.pairs, *world.evidence}:
        if (profile := world.profile(key)) is not None:
            roles[key] = None if profile.membership is None else profile.membership.role
    names = {}
    for org, register in world.organizations.items():
        if register.exists:
            names[org] = None if register.snapshot is None else register.snapshot.name
    return Ends(roles, names)
