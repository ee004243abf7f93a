"""The rule that decided what became of a delivery."""

from enum import Enum, StrEnum, auto


class Effect(Enum):
    """Whether a fact told anything new of its subject."""

    APPLIED = auto()
    STALE = auto()


class Rule(StrEnum):
    """The values are those of the ledger. The first group decides about facts, the second about whole deliveries."""

    NEWER = "newer"
    OLDER = "older"
    SEEN = "seen"
    REMOVED = "removed"
    REMOVAL_KNOWN = "removal_known"
    LATER_MEMBERSHIP = "later_membership"
    MEMBERSHIP_ENDED = "membership_ended"
    DELETED = "deleted"
    USER_DELETED = "user_deleted"
    ORGANIZATION_DELETED = "organization_deleted"

    OTHER_TYPE = "other_type"
    OTHER_INSTANCE = "other_instance"
    NOT_UNDERSTOOD = "not_understood"
    REFUSED_BY_DATABASE = "refused_by_database"

    @property
    def effect(self) -> Effect:
        """What a fact came to by this rule."""
        return Effect.APPLIED if self in _APPLIED else Effect.STALE

    @property
    def sentence(self) -> str:
        """The rule in words, for operators."""
        return _SENTENCES[self]


_APPLIED = frozenset({Rule.NEWER, Rule.SEEN, Rule.REMOVED, Rule.DELETED})
_SENTENCES = {
    Rule.NEWER: "it was newer than what was known",
    Rule.OLDER: "it was not newer than what was known",
    Rule.SEEN: "it concerns a user, and profiles belong to memberships: it changes none",
    Rule.REMOVED: "it told of a removal that was not known",
    Rule.REMOVAL_KNOWN: "it told of a removal that was known already",
    Rule.LATER_MEMBERSHIP: "it told of the end of an earlier membership, and a later one is alive",
    Rule.MEMBERSHIP_ENDED: "the membership it tells of is known to have ended",
    Rule.DELETED: "it told of a deletion, which is final",
    Rule.USER_DELETED: "the user is known to be deleted, which is final",
    Rule.ORGANIZATION_DELETED: "the organization is known to be deleted, which is final",
    Rule.OTHER_TYPE: "its type is none that concerns organizations or members",
    Rule.OTHER_INSTANCE: "it came from another Clerk instance than CLERK_INSTANCE_ID names",
    Rule.NOT_UNDERSTOOD: "its body could not be understood",
    Rule.REFUSED_BY_DATABASE: "a constraint or trigger in the database refused it",
}
