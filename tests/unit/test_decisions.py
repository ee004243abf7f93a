"""The rule that decides what a fact tells of its subject, and whether that is anything new."""

import pytest

from clerksync_server.rules.decisions import Effect, Rule
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
from clerksync_server.rules.world import World

USER, ORG = "user_1", "org_1"
NAMED = OrganizationSnapshot(ORG, "Acme", None, None, None, Version(20, 20))
NAMED_BEFORE = OrganizationSnapshot(ORG, "Acme", None, None, None, Version(10, 20))
FIRST, SECOND = Generation(10, "orgmem_1"), Generation(30, "orgmem_2")
JOINED = MembershipSnapshot(USER, ORG, FIRST, Version(10, 10), "org:member")
CHANGED = MembershipSnapshot(USER, ORG, FIRST, Version(15, 15), "org:admin")
LEFT = MembershipEnded(USER, ORG, FIRST, 20)
JOINED_AGAIN = MembershipSnapshot(USER, ORG, SECOND, Version(30, 30), "org:member")
LEFT_AGAIN = MembershipEnded(USER, ORG, SECOND, 40)
ABSENT = MembershipEnded(USER, ORG, Generation(50, ""), 50)
ORG_DELETED, USER_DELETED = OrganizationDeleted(ORG, 60), UserDeleted(USER, 60)


@pytest.mark.parametrize(
    ("before", "fact", "rule"),
    [
        ((), NAMED, Rule.NEWER),
        ((NAMED_BEFORE,), NAMED, Rule.NEWER),
        ((NAMED,), NAMED_BEFORE, Rule.OLDER),
        ((NAMED,), NAMED, Rule.OLDER),
        ((), OrganizationMention(ORG), Rule.NEWER),
        ((OrganizationMention(ORG),), OrganizationMention(ORG), Rule.OLDER),
        ((OrganizationMention(ORG),), NAMED, Rule.NEWER),
        ((NAMED,), OrganizationMention(ORG), Rule.OLDER),
        ((), ORG_DELETED, Rule.DELETED),
        ((NAMED,), ORG_DELETED, Rule.DELETED),
        ((ORG_DELETED,), OrganizationDeleted(ORG, 70), Rule.ORGANIZATION_DELETED),
        ((ORG_DELETED,), NAMED, Rule.ORGANIZATION_DELETED),
        ((), UserSeen(USER), Rule.SEEN),
        ((UserSeen(USER),), UserSeen(USER), Rule.SEEN),
        ((UserSeen(USER),), USER_DELETED, Rule.DELETED),
        ((USER_DELETED,), UserSeen(USER), Rule.USER_DELETED),
        ((USER_DELETED,), UserDeleted(USER, 70), Rule.USER_DELETED),
        ((), JOINED, Rule.NEWER),
        ((JOINED,), CHANGED, Rule.NEWER),
        ((JOINED,), JOINED, Rule.OLDER),
        ((CHANGED,), JOINED, Rule.OLDER),
        ((JOINED_AGAIN,), CHANGED, Rule.OLDER),
        ((JOINED,), LEFT, Rule.REMOVED),
        ((), LEFT, Rule.REMOVED),
        ((LEFT,), LEFT, Rule.REMOVAL_KNOWN),
        ((LEFT_AGAIN,), LEFT, Rule.REMOVAL_KNOWN),
        ((LEFT,), LEFT_AGAIN, Rule.REMOVED),
        ((LEFT,), ABSENT, Rule.REMOVED),
        ((ABSENT,), LEFT, Rule.REMOVAL_KNOWN),
        ((LEFT,), CHANGED, Rule.MEMBERSHIP_ENDED),
        ((ABSENT,), JOINED_AGAIN, Rule.MEMBERSHIP_ENDED),
        ((LEFT,), JOINED_AGAIN, Rule.NEWER),
        ((JOINED_AGAIN,), LEFT, Rule.LATER_MEMBERSHIP),
        ((LEFT, JOINED_AGAIN), LEFT, Rule.LATER_MEMBERSHIP),
        ((USER_DELETED,), JOINED, Rule.USER_DELETED),
        ((USER_DELETED,), LEFT, Rule.USER_DELETED),
        ((ORG_DELETED,), JOINED, Rule.ORGANIZATION_DELETED),
        ((ORG_DELETED,), LEFT, Rule.ORGANIZATION_DELETED),
    ],
)
def test_the_rule_that_decides(before: tuple[Fact, ...], fact: Fact, rule: Rule) -> None:
    """What is older than the present, or concerns what is deleted, is told by the rule that outweighs it."""
    world = World()
    for earlier in before:
        world.apply(earlier)

    assert rule is world.apply(fact)


def test_which_rules_tell_anything_new() -> None:
    """Four rules apply a fact; all others leave the rows as they are."""
    applying = {rule for rule in Rule if rule.effect is Effect.APPLIED}

    assert {Rule.NEWER, Rule.SEEN, Rule.REMOVED, Rule.DELETED} == applying


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_can_be_told(rule: Rule) -> None:
    """Operators read a sentence, and the ledger a word."""
    assert rule.sentence
    assert rule.value == rule.name.lower()
