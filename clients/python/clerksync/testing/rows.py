"""The two tables in memory. What may be in them is decided by the service's own rules."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from clerksync.v1 import resources_pb2
from clerksync_server.rules.evidence import EvidencePolicy, Verdict
from clerksync_server.rules.facts import (
    Fact,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationMention,
    OrganizationSnapshot,
    UserDeleted,
)
from clerksync_server.rules.world import PairKey, Profile, World

_Content = TypeVar("_Content")


@dataclass(frozen=True, slots=True)
class _Row(Generic[_Content]):
    """The identity of a row, which outlives changes of its content."""

    content: _Content
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Rows:
    """`World`, and with it what a database adds: ids and times of rows. Not thread-safe."""

    def __init__(self, policy: EvidencePolicy) -> None:
        self._policy = policy
        self._world = World()
        self._profiles: dict[PairKey, _Row[Profile]] = {}
        self._organizations: dict[str, _Row[OrganizationSnapshot | None]] = {}

    def apply(self, *facts: Fact) -> bool:
        """Joins facts; returns whether rows went away."""
        has_gone = False
        for fact in facts:
            self._world.apply(fact)
            match fact:
                case MembershipSnapshot() | MembershipEnded():
                    has_gone |= self._renew_profiles([(fact.clerk_user_id, fact.clerk_org_id)])
                case UserDeleted():
                    has_gone |= self._renew_profiles([key for key in self._profiles if key[0] == fact.clerk_user_id])
                case OrganizationDeleted():
                    has_gone |= self._renew_organization(fact.clerk_org_id)
                    self._renew_profiles([key for key in self._profiles if key[1] == fact.clerk_org_id])
                case OrganizationSnapshot() | OrganizationMention():
                    self._renew_organization(fact.clerk_org_id)
        return has_gone

    def evidence_ms(self, *, now_ms: int, token_issued_at_ms: int | None) -> int:
        """The time that a token proves."""
        return self._policy.evidence_ms(now_ms=now_ms, token_issued_at_ms=token_issued_at_ms)

    def ensure_user_profile(self, key: PairKey, *, now_ms: int, token_issued_at_ms: int | None) -> Verdict:
        verdict = self._world.ensure_user_profile(
            key,
            evidence_ms=self.evidence_ms(now_ms=now_ms, token_issued_at_ms=token_issued_at_ms),
            oldest_ms=self._policy.oldest_ms(now_ms=now_ms),
        )
        self._renew_organization(key[1])
        self._renew_profiles([key])
        return verdict

    def ensure_organization(self, clerk_org_id: str, *, now_ms: int, token_issued_at_ms: int | None) -> Verdict:
        verdict = self._world.ensure_organization(
            clerk_org_id,
            evidence_ms=self.evidence_ms(now_ms=now_ms, token_issued_at_ms=token_issued_at_ms),
            oldest_ms=self._policy.oldest_ms(now_ms=now_ms),
        )
        self._renew_organization(clerk_org_id)
        return verdict

    def membership(self, key: PairKey) -> MembershipSnapshot | None:
        """The living membership that the profile rests on, if it does."""
        profile = self._world.profile(key)
        return None if profile is None else profile.membership

    def snapshot(self, clerk_org_id: str) -> OrganizationSnapshot | None:
        """What is known of an organization, if more than its id is."""
        row = self._organizations.get(clerk_org_id)
        return None if row is None else row.content

    def user_profile(self, key: PairKey) -> resources_pb2.UserProfile | None:
        """The row of a pair as the contract shows it."""
        if (row := self._profiles.get(key)) is None:
            return None
        membership = row.content.membership
        profile = resources_pb2.UserProfile(
            id=row.id,
            clerk_user_id=key[0],
            clerk_org_id=key[1],
            role=None if membership is None else membership.role,
            clerk_membership_id=None if membership is None else membership.generation.membership_id,
        )
        profile.create_time.FromDatetime(row.created_at)
        profile.update_time.FromDatetime(row.updated_at)
        return profile

    def organization(self, clerk_org_id: str) -> resources_pb2.Organization | None:
        """The row of an organization as the contract shows it."""
        if (row := self._organizations.get(clerk_org_id)) is None:
            return None
        told = row.content
        organization = resources_pb2.Organization(
            id=row.id,
            clerk_org_id=clerk_org_id,
            name=clerk_org_id if told is None else told.name,
            slug=None if told is None else told.slug,
            image_url=None if told is None else told.image_url,
            is_placeholder=told is None,
        )
        organization.create_time.FromDatetime(row.created_at)
        organization.update_time.FromDatetime(row.updated_at)
        return organization

    def _renew_profiles(self, keys: Iterable[PairKey]) -> bool:
        """Returns whether any went away."""
        has_gone = False
        for key in keys:
            profile, row = self._world.profile(key), self._profiles.get(key)
            if profile is not None:
                self._profiles[key] = _renewed(row, profile)
            elif row is not None:
                del self._profiles[key]
                has_gone = True
        return has_gone

    def _renew_organization(self, clerk_org_id: str) -> bool:
        """Returns whether it went away."""
        register, row = self._world.organizations.get(clerk_org_id), self._organizations.get(clerk_org_id)
        if register is not None and register.exists:
            self._organizations[clerk_org_id] = _renewed(row, register.snapshot)
            return False
        self._organizations.pop(clerk_org_id, None)
        return row is not None


def _renewed(row: _Row[_Content] | None, content: _Content) -> _Row[_Content]:
    if row is None:
        return _Row(content)
    return row if row.content == content else replace(row, content=content, updated_at=datetime.now(UTC))
