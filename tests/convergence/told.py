"""What the service has been told so far, and what its tables must and must not hold because of that.

It goes by what truly happened (the model's lives and revisions), not by the times from which the service has to find
that out. While work is in progress two accounts are kept: what was sent may count, what was acknowledged must.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from clerk_model.records import Content, Event, Membership, Pair


@dataclass(frozen=True)
class Profile:
    """A row of user_profile; without a membership id it is provisional."""

    membership_id: str | None
    role: str | None


@dataclass(frozen=True)
class Tables:
    """The rows that concern a history. A placeholder has no content."""

    organizations: dict[str, Content | None]
    profiles: dict[Pair, Profile]


@dataclass
class Account:
    """Everything told."""

    contents: dict[str, dict[int, Content]] = field(default_factory=dict)
    """Of each organization by revision."""
    memberships: dict[Pair, dict[tuple[int, int], Membership]] = field(default_factory=dict)
    """Of each pair by life and revision."""
    ended: dict[Pair, int] = field(default_factory=dict)
    """The last life that is over."""
    removed_at_ms: dict[Pair, int] = field(default_factory=dict)
    """When the last removal was."""
    deleted: set[str] = field(default_factory=set)
    """Users and organizations."""
    evidence_ms: dict[Pair, float] = field(default_factory=dict)
    """When the youngest token that was presented had been issued."""
    ensured: set[str] = field(default_factory=set)
    """Organizations that a call was answered with."""
    told_lives: dict[Pair, tuple[int, ...]] = field(default_factory=dict)
    """The lives of which living memberships were told, each as often and in the order in which it was."""
    created: dict[Pair, tuple[float, int]] = field(default_factory=dict)
    """Profiles that a call made: when its token had been issued, and how many of `told_lives` came before for sure."""

    def tell(self, event: Event) -> None:
        organization, membership = event.organization, event.membership
        if event.deletion and membership is None:
            subject = event.user or organization
            assert subject is not None
            self.deleted.add(subject.id)
            return
        if organization is not None:
            self.contents.setdefault(organization.id, {})[organization.revision] = organization.content
        if membership is not None and event.deletion:
            pair = membership.pair
            self.ended[pair] = max(membership.life, self.ended.get(pair, 0))
            self.removed_at_ms[pair] = max(event.envelope_ms, self.removed_at_ms.get(pair, 0))
        elif membership is not None:
            told = self.memberships.setdefault(membership.pair, {})
            told[membership.life, membership.revision] = membership
            self.told_lives[membership.pair] = (*self.told_lives.get(membership.pair, ()), membership.life)

    def present_token(self, pair: Pair, evidence_ms: float) -> None:
        self.evidence_ms[pair] = max(evidence_ms, self.evidence_ms.get(pair, -math.inf))

    def create(self, pair: Pair, evidence_ms: float, told_before: int) -> None:
        self.created[pair] = max((evidence_ms, told_before), self.created.get(pair, (-math.inf, 0)))

    def is_deleted(self, pair: Pair) -> bool:
        return not self.deleted.isdisjoint(pair)

    def reasons_to_refuse(self, pair: Pair, evidence_ms: float) -> set[str]:
        reasons = set()
        if pair[0] in self.deleted:
            reasons.add("USER_DELETED")
        if pair[1] in self.deleted:
            reasons.add("ORGANIZATION_DELETED")
        if pair in self.removed_at_ms and evidence_ms <= self.removed_at_ms[pair]:
            reasons.add("MEMBERSHIP_REMOVED")
        return reasons

    def copy(self) -> "Account":
        """The records inside never change, so they are shared."""
        return Account(
            contents={key: dict(told) for key, told in self.contents.items()},
            memberships={key: dict(told) for key, told in self.memberships.items()},
            ended=dict(self.ended),
            removed_at_ms=dict(self.removed_at_ms),
            deleted=set(self.deleted),
            evidence_ms=dict(self.evidence_ms),
            ensured=set(self.ensured),
            told_lives=dict(self.told_lives),
            created=dict(self.created),
        )


def wrongs(tables: Tables, *, acknowledged: Account, sent: Account) -> Iterator[str]:
    """What must not be so: `acknowledged` as of before the tables were read, `sent` as of afterwards."""
    for organization in sent.contents.keys() | sent.deleted | tables.organizations.keys():
        yield from _organization_wrongs(organization, tables, acknowledged, sent)
    for pair in sent.memberships.keys() | sent.evidence_ms.keys() | tables.profiles.keys():
        if (row := tables.profiles.get(pair)) is not None:
            yield from _presence_wrongs(pair, row, acknowledged, sent)
        yield from _loss_wrongs(pair, row, acknowledged, sent)


def _organization_wrongs(organization: str, tables: Tables, acknowledged: Account, sent: Account) -> Iterator[str]:
    if organization in acknowledged.deleted:
        if organization in tables.organizations:
            yield f"{organization} is there, but its deletion was acknowledged"
        return
    latest = max(acknowledged.contents.get(organization, {}), default=None)
    if organization not in tables.organizations:
        known = latest is not None or organization in acknowledged.ensured
        if known and organization not in sent.deleted:
            yield f"{organization} is missing, but was acknowledged"
        return
    content = tables.organizations[organization]
    if content is None:
        if latest is not None:
            yield f"{organization} is a placeholder, but was acknowledged"
        return
    revisions = [number for number, told in sent.contents.get(organization, {}).items() if told == content]
    if max(revisions, default=-1) < (latest or 0):
        yield f"{organization} shows revisions {revisions}, but revision {latest} was acknowledged"


def _presence_wrongs(pair: Pair, row: Profile, acknowledged: Account, sent: Account) -> Iterator[str]:
    """Whoever is there needs something that vouches for them and that no acknowledged removal has ended."""
    if acknowledged.is_deleted(pair):
        yield f"{pair} is there, but the deletion of the user or organization was acknowledged"
    if row.membership_id is None:
        evidence_ms, removed_at_ms = sent.evidence_ms.get(pair), acknowledged.removed_at_ms.get(pair)
        if evidence_ms is None:
            yield f"{pair} is there without any evidence"
        elif removed_at_ms is not None and evidence_ms <= removed_at_ms:
            yield f"{pair} is there on evidence of {evidence_ms}, but their removal at {removed_at_ms} was acknowledged"
        return
    told = [key for key, member in sent.memberships.get(pair, {}).items() if member.id == row.membership_id]
    if not told:
        yield f"{pair} has the membership {row.membership_id}, which nobody told of"
    elif told[0][0] <= (ended := acknowledged.ended.get(pair, 0)):
        yield f"{pair} is there in life {told[0][0]}, but the end of life {ended} was acknowledged"


def _loss_wrongs(pair: Pair, row: Profile | None, acknowledged: Account, sent: Account) -> Iterator[str]:
    """An acknowledged membership that is not over as far as was told is there, as new as it was told or newer.

    So is a profile that a call made, unless a later removal was told of, or a membership that took it along when it
    ended.
    """
    if sent.is_deleted(pair):
        return
    ended = sent.ended.get(pair, 0)
    if row is None and (made := acknowledged.created.get(pair)) is not None:
        evidence_ms, told_before = made
        removed_at_ms = sent.removed_at_ms.get(pair)
        outlived = removed_at_ms is None or removed_at_ms < evidence_ms
        if outlived and all(life > ended for life in sent.told_lives.get(pair, ())[told_before:]):
            yield f"{pair} is missing, but a call made them on evidence of {evidence_ms}, and nothing has ended that"
    latest = max(acknowledged.memberships.get(pair, {}), default=None)
    if latest is None or latest[0] <= ended:
        return
    newer = [member for key, member in sent.memberships[pair].items() if key >= latest]
    if row not in [Profile(member.id, member.role) for member in newer]:
        yield f"{pair} is {row}, but life and revision {latest} were acknowledged"
