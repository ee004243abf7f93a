"""Ensure: evidence that somebody is a member, not a fact of membership.

"At time *e* Clerk issued this user a token for this organization." It may make what is missing, and nothing else.
"""

from dataclasses import dataclass
from enum import Enum, auto

LEEWAY_MS = 5_000
"""What Clerk's own libraries allow between two clocks."""


class Verdict(Enum):
    """What an Ensure call comes to."""

    EXISTED = auto()
    CREATE = auto()
    USER_DELETED = auto()
    ORGANIZATION_DELETED = auto()
    MEMBERSHIP_REMOVED = auto()
    EVIDENCE_TOO_OLD = auto()


@dataclass(frozen=True, slots=True)
class EvidencePolicy:
    """How old a token may be (`max_token_age_ms`), and how long removals are remembered (`retention_ms`)."""

    max_token_age_ms: int
    retention_ms: int

    def evidence_ms(self, *, now_ms: int, token_issued_at_ms: int | None) -> int:
        """The time *e* that a call proves.

        A token from the future would outlive removals that are yet to come, so it counts as of now. Without a time the
        token is taken to be as old as tokens get. One from before 1970, which proves nothing, counts as of then: the
        first moment of the year 1 would be -infinity to the driver of Postgres.
        """
        if token_issued_at_ms is None:
            return now_ms - self.max_token_age_ms - LEEWAY_MS
        return max(0, min(token_issued_at_ms, now_ms))

    def oldest_ms(self, *, now_ms: int) -> int:
        """Older evidence is worth nothing: the removal that refutes it may have been forgotten."""
        return now_ms - self.retention_ms


def judge_profile(
    *,
    exists: bool,
    user_deleted: bool,
    organization_deleted: bool,
    removed_at_ms: int | None,
    evidence_ms: int,
    oldest_ms: int,
) -> Verdict:
    """What EnsureUserProfile comes to. A token issued in the very moment of the removal is refused."""
    if exists:
        return Verdict.EXISTED
    if user_deleted:
        return Verdict.USER_DELETED
    if organization_deleted:
        return Verdict.ORGANIZATION_DELETED
    if removed_at_ms is not None and evidence_ms <= removed_at_ms:
        return Verdict.MEMBERSHIP_REMOVED
    if evidence_ms < oldest_ms:
        return Verdict.EVIDENCE_TOO_OLD
    return Verdict.CREATE


def judge_organization(*, exists: bool, deleted: bool, evidence_ms: int, oldest_ms: int) -> Verdict:
    """What EnsureOrganization comes to."""
    return judge_profile(
        exists=exists,
        user_deleted=False,
        organization_deleted=deleted,
        removed_at_ms=None,
        evidence_ms=evidence_ms,
        oldest_ms=oldest_ms,
    )
