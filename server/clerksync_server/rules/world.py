"""The state in memory: it decides about batches of deliveries, and is the specification that SQL is held against."""

from dataclasses import dataclass, field

from clerksync_server.rules.decisions import Rule
from clerksync_server.rules.evidence import Verdict, judge_organization, judge_profile
from clerksync_server.rules.facts import (
    Fact,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationMention,
    OrganizationSnapshot,
    UserDeleted,
    UserSeen,
)
from clerksync_server.rules.registers import (
    OrganizationRegister,
    PairRegister,
    UserRegister,
    join_organizations,
    join_pairs,
    join_users,
    organization_of,
    pair_of,
    user_of,
)

PairKey = tuple[str, str]
"""(clerk_user_id, clerk_org_id)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A row of user_profile: confirmed by a membership, or provisional and resting on evidence."""

    membership: MembershipSnapshot | None
    evidence_ms: int | None


@dataclass(slots=True)
class World:
    """Facts go in by `apply`, Ensure calls by `ensure_*`; the rows come out by `organization` and `profile`."""

    organizations: dict[str, OrganizationRegister] = field(default_factory=dict)
    users: dict[str, UserRegister] = field(default_factory=dict)
    pairs: dict[PairKey, PairRegister] = field(default_factory=dict)
    evidence: dict[PairKey, int] = field(default_factory=dict)

    def apply(self, fact: Fact) -> Rule:
        """Joins a fact into the state; returns the rule that decided what it told of its subject."""
        match fact:
            case OrganizationSnapshot() | OrganizationMention() | OrganizationDeleted():
                return self._join_organization(fact.clerk_org_id, organization_of(fact))
            case UserSeen() | UserDeleted():
                return self._join_user(fact.clerk_user_id, user_of(fact))
            case MembershipSnapshot() | MembershipEnded():
                return self._join_pair((fact.clerk_user_id, fact.clerk_org_id), pair_of(fact))

    def ensure_user_profile(self, key: PairKey, *, evidence_ms: int, oldest_ms: int) -> Verdict:
        """Records the evidence where a profile is missing and may be made, and makes its organization."""
        tombstone = self._pair(key).tombstone
        verdict = judge_profile(
            exists=self.profile(key) is not None,
            user_deleted=self._user(key[0]).deleted_at_ms is not None,
            organization_deleted=self._organization(key[1]).deleted_at_ms is not None,
            removed_at_ms=None if tombstone is None else tombstone.removed_at_ms,
            evidence_ms=evidence_ms,
            oldest_ms=oldest_ms,
        )
        if verdict is Verdict.CREATE:
            self.apply(OrganizationMention(key[1]))
            self.evidence[key] = evidence_ms
        return verdict

    def ensure_organization(self, clerk_org_id: str, *, evidence_ms: int, oldest_ms: int) -> Verdict:
        """Makes a placeholder where the organization is missing and may be made."""
        register = self._organization(clerk_org_id)
        verdict = judge_organization(
            exists=register.exists,
            deleted=register.deleted_at_ms is not None,
            evidence_ms=evidence_ms,
            oldest_ms=oldest_ms,
        )
        if verdict is Verdict.CREATE:
            self.apply(OrganizationMention(clerk_org_id))
        return verdict

    def profile(self, key: PairKey) -> Profile | None:
        """The row of a pair, if there is one."""
        if self._user(key[0]).deleted_at_ms is not None or self._organization(key[1]).deleted_at_ms is not None:
            return None
        if (living := self._pair(key).living) is not None:
            return Profile(membership=living, evidence_ms=None)
        if (evidence_ms := self.evidence.get(key)) is not None:
            return Profile(membership=None, evidence_ms=evidence_ms)
        return None

    def _organization(self, clerk_org_id: str) -> OrganizationRegister:
        return self.organizations.get(clerk_org_id, OrganizationRegister())

    def _user(self, clerk_user_id: str) -> UserRegister:
        return self.users.get(clerk_user_id, UserRegister())

    def _pair(self, key: PairKey) -> PairRegister:
        return self.pairs.get(key, PairRegister())

    def _join_organization(self, clerk_org_id: str, told: OrganizationRegister) -> Rule:
        before = self._organization(clerk_org_id)
        after = join_organizations(before, told)
        self.organizations[clerk_org_id] = after
        if before.deleted_at_ms is not None:
            return Rule.ORGANIZATION_DELETED
        if after.deleted_at_ms is not None:
            return Rule.DELETED
        return Rule.OLDER if after == before else Rule.NEWER

    def _join_user(self, clerk_user_id: str, told: UserRegister) -> Rule:
        before = self._user(clerk_user_id)
        self.users[clerk_user_id] = join_users(before, told)
        if before.deleted_at_ms is not None:
            return Rule.USER_DELETED
        return Rule.SEEN if told.deleted_at_ms is None else Rule.DELETED

    def _join_pair(self, key: PairKey, told: PairRegister) -> Rule:
        before = self._pair(key)
        after = join_pairs(before, told)
        self.pairs[key] = after
        removed_at_ms = 0 if after.tombstone is None else after.tombstone.removed_at_ms
        if after.living is not None or self.evidence.get(key, 0) <= removed_at_ms:
            self.evidence.pop(key, None)
        if self._user(key[0]).deleted_at_ms is not None:
            return Rule.USER_DELETED
        if self._organization(key[1]).deleted_at_ms is not None:
            return Rule.ORGANIZATION_DELETED
        if told.living is not None:
            if after != before:
                return Rule.NEWER
            buried = before.tombstone is not None and told.living.generation <= before.tombstone.through
            return Rule.MEMBERSHIP_ENDED if buried else Rule.OLDER
        if after.living is not None:
            return Rule.LATER_MEMBERSHIP
        return Rule.REMOVAL_KNOWN if after == before else Rule.REMOVED
