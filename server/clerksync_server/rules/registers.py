"""The registers that facts are joined into.

Each join is associative, commutative and idempotent, so order and repetition of facts cannot matter.
"""

from dataclasses import dataclass
from typing import TypeVar

from clerksync_server.rules.facts import (
    Generation,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationMention,
    OrganizationSnapshot,
    UserDeleted,
    UserSeen,
)

_Snapshot = TypeVar("_Snapshot", OrganizationSnapshot, MembershipSnapshot)


def _latest(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def _higher(a: _Snapshot | None, b: _Snapshot | None) -> _Snapshot | None:
    """The one that comes later in the order; the first among equals."""
    if a is None or b is None:
        return b if a is None else a
    return b if a.order < b.order else a


@dataclass(frozen=True, slots=True)
class OrganizationRegister:
    """All that is known of an organization."""

    mentioned: bool = False
    snapshot: OrganizationSnapshot | None = None
    deleted_at_ms: int | None = None

    @property
    def exists(self) -> bool:
        return self.mentioned and self.deleted_at_ms is None


@dataclass(frozen=True, slots=True)
class UserRegister:
    """All that is known of a user."""

    deleted_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is known of removals of a pair."""

    through: Generation
    removed_at_ms: int


@dataclass(frozen=True, slots=True)
class PairRegister:
    """All that is known of a pair (user, organization)."""

    living: MembershipSnapshot | None = None
    tombstone: Tombstone | None = None


def join_organizations(a: OrganizationRegister, b: OrganizationRegister) -> OrganizationRegister:
    return OrganizationRegister(
        mentioned=a.mentioned or b.mentioned,
        snapshot=_higher(a.snapshot, b.snapshot),
        deleted_at_ms=_latest(a.deleted_at_ms, b.deleted_at_ms),
    )


def join_users(a: UserRegister, b: UserRegister) -> UserRegister:
    return UserRegister(deleted_at_ms=_latest(a.deleted_at_ms, b.deleted_at_ms))


def join_tombstones(a: Tombstone | None, b: Tombstone | None) -> Tombstone | None:
    if a is None or b is None:
        return b if a is None else a
    return Tombstone(through=max(a.through, b.through), removed_at_ms=max(a.removed_at_ms, b.removed_at_ms))


def join_pairs(a: PairRegister, b: PairRegister) -> PairRegister:
    tombstone = join_tombstones(a.tombstone, b.tombstone)
    living = _higher(a.living, b.living)
    if living is not None and tombstone is not None and living.generation <= tombstone.through:
        living = None
    return PairRegister(living=living, tombstone=tombstone)


def organization_of(fact: OrganizationSnapshot | OrganizationMention | OrganizationDeleted) -> OrganizationRegister:
    """The register that knows of an organization what this fact tells, and nothing else."""
    match fact:
        case OrganizationSnapshot():
            return OrganizationRegister(mentioned=True, snapshot=fact)
        case OrganizationMention():
            return OrganizationRegister(mentioned=True)
        case OrganizationDeleted():
            return OrganizationRegister(deleted_at_ms=fact.deleted_at_ms)


def user_of(fact: UserSeen | UserDeleted) -> UserRegister:
    """The register that knows of a user what this fact tells, and nothing else."""
    return UserRegister(deleted_at_ms=fact.deleted_at_ms if isinstance(fact, UserDeleted) else None)


def pair_of(fact: MembershipSnapshot | MembershipEnded) -> PairRegister:
    """The register that knows of a pair what this fact tells, and nothing else."""
    if isinstance(fact, MembershipSnapshot):
        return PairRegister(living=fact)
    return PairRegister(tombstone=Tombstone(through=fact.through, removed_at_ms=fact.removed_at_ms))
