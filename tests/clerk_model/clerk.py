"""Clerk: users, organizations, and memberships with a life.

What it promises, as far as is known: times are its own; an id is never used again; leaving and joining again makes a
new membership; a deletion carries the membership as it last was; a session token is issued to a present member only.
"""

import random
import string
from collections.abc import Callable
from dataclasses import replace

from clerk_model import shapes
from clerk_model.records import Content, Event, Membership, Organization, Pair, Token, User

_LETTERS = string.ascii_letters + string.digits
_NAMES = ["Acme", "acme", "Ångström & Söhne", "株式会社", "O'Neill; drop table", "Acme Inc "]
_ROLES = ["org:admin", "org:member", "org:Billing_2"]


class Clerk:
    """Do something to it at `now_ms`, and it happens and is told in `events`.

    Two changes may fall into one millisecond. Then their envelope times rise in the order of the changes, also those
    of later events in which the organization is nested: what no time at all tells apart, nobody could order. Otherwise
    envelopes may overtake each other.
    """

    def __init__(self, chance: random.Random, begin_ms: int) -> None:
        self._chance = chance
        self._last_envelope = (begin_ms, begin_ms)
        self._envelopes: dict[tuple[str, int], dict[int, int]] = {}
        """The latest that carried an organization as of an update time, by its revision."""
        self._lives: dict[Pair, int] = {}
        self.now_ms = begin_ms
        self.events: list[Event] = []
        self.users: dict[str, User] = {}
        self.organizations: dict[str, Organization] = {}
        self.memberships: dict[Pair, Membership] = {}
        self.everyone: list[str] = []
        self.every_organization: list[str] = []

    def create_user(self) -> str:
        user = User(self._new_id("user"), self._chance.choice(["Ada", "Zoë", None]), self.now_ms, self.now_ms)
        self.users[user.id] = user
        self.everyone.append(user.id)
        self._tell_user("user.created", user)
        return user.id

    def change_user(self, user_id: str) -> None:
        self.users[user_id] = replace(self.users[user_id], updated_at_ms=self.now_ms)
        self._tell_user("user.updated", self.users[user_id])

    def create_organization(self, creator: str) -> str:
        """The creator's membership comes a few milliseconds later."""
        organization = Organization(self._new_id("org"), self._content(), creator, self.now_ms, self.now_ms)
        self.organizations[organization.id] = organization
        self.every_organization.append(organization.id)
        self._tell_organization("organization.created", organization)
        self.now_ms += self._chance.randint(0, 30)
        self.join((creator, organization.id), role="org:admin")
        return organization.id

    def rename(self, org_id: str) -> None:
        before = self.organizations[org_id]
        content = self._content(unlike=before.content)
        changed = replace(before, content=content, updated_at_ms=self.now_ms, revision=before.revision + 1)
        self.organizations[org_id] = changed
        self._tell_organization("organization.updated", changed)

    def join(self, pair: Pair, role: str | None = None) -> None:
        """Also again: a new membership, which is never made in the millisecond of the last one."""
        life = self._lives[pair] = self._lives.get(pair, 0) + 1
        self.memberships[pair] = Membership(
            self._new_id("orgmem"), pair, role or self._chance.choice(_ROLES), life, self.now_ms, self.now_ms
        )
        self._touch(pair[1])
        self._tell_membership("organizationMembership.created", self.memberships[pair])

    def change_role(self, pair: Pair) -> None:
        before = self.memberships[pair]
        role = self._chance.choice([role for role in _ROLES if role != before.role])
        changed = replace(before, role=role, updated_at_ms=self.now_ms, revision=before.revision + 1)
        self.memberships[pair] = changed
        self._touch(pair[1])
        self._tell_membership("organizationMembership.updated", changed)

    def leave(self, pair: Pair) -> None:
        """The deletion does not move the membership's own update time."""
        gone = self.memberships.pop(pair)
        self._touch(pair[1])
        self._tell_membership("organizationMembership.deleted", gone)

    def delete_organization(self, org_id: str) -> None:
        gone = [pair for pair in self.memberships if pair[1] == org_id]
        stub = shapes.stub(self._chance, "organization", org_id)
        self._delete(gone, lambda: self._tell("organization.deleted", stub, organization=self.organizations[org_id]))
        del self.organizations[org_id]

    def delete_user(self, user_id: str) -> None:
        gone = [pair for pair in self.memberships if pair[0] == user_id]
        stub = shapes.stub(self._chance, "user", user_id)
        self._delete(gone, lambda: self._tell("user.deleted", stub, user=self.users[user_id]))
        del self.users[user_id]

    def mention_something_else(self) -> None:
        """An event that has nothing to do with memberships."""
        kind = self._chance.choice(["session.created", "email.created", "organizationInvitation.accepted", "new.kind"])
        self._tell(kind, {"id": self._new_id("any"), "object": kind.partition(".")[0], "created_at": self.now_ms})

    def issue_token(self, pair: Pair, at_ms: int | None = None) -> Token:
        """At a moment since the present membership began, now unless said otherwise."""
        at_ms = self.now_ms if at_ms is None else at_ms
        assert self.memberships[pair].created_at_ms <= at_ms, "only members get tokens"
        return Token(pair, at_ms // 1000)

    def _delete(self, gone: list[Pair], tell_deletion: Callable[[], None]) -> None:
        """Whether Clerk also tells of each membership is not known, nor in which order: a coin decides."""
        memberships = [self.memberships.pop(pair) for pair in gone]
        cascade = self._chance.random() < 0.5
        before = self._chance.randint(0, len(memberships)) if cascade else 0
        for membership in memberships[:before]:
            self._tell_membership("organizationMembership.deleted", membership)
        tell_deletion()
        for membership in memberships[before:] if cascade else []:
            self._tell_membership("organizationMembership.deleted", membership)

    def _touch(self, org_id: str) -> None:
        """A change of its memberships moves an organization's update time, sometimes, without an event of its own."""
        if self._chance.random() < 0.2:
            before = self.organizations[org_id]
            touched = replace(before, updated_at_ms=self.now_ms, revision=before.revision + 1)
            self.organizations[org_id] = touched

    def _content(self, unlike: Content | None = None) -> Content:
        """Another content; whether an organization has a slug and an image stays as it was."""
        number = self._chance.randrange(10**9)
        name = f"{self._chance.choice(_NAMES)}{number}"
        if unlike is None:
            slug, image = self._chance.choice([f"acme-{number}", "acme", None]), self._chance.random() < 0.8
        else:
            slug, image = unlike[1] and self._chance.choice([f"acme-{number}", unlike[1]]), unlike[2] is not None
        return name, slug, f"https://img.clerk.com/{number}" if image else None

    def _tell_user(self, event_type: str, user: User) -> None:
        self._tell(event_type, shapes.user(self._chance, user), user=user)

    def _tell_organization(self, event_type: str, organization: Organization) -> None:
        self._tell(event_type, shapes.organization(self._chance, organization), organization=organization)

    def _tell_membership(self, event_type: str, membership: Membership) -> None:
        organization = self.organizations[membership.organization]
        user = self.users[membership.user]
        members = sum(pair[1] == organization.id for pair in self.memberships)
        data = shapes.membership(self._chance, membership, organization, user, members)
        self._tell(event_type, data, organization=organization, membership=membership)

    def _tell(
        self,
        event_type: str,
        data: shapes.Json,
        *,
        user: User | None = None,
        organization: Organization | None = None,
        membership: Membership | None = None,
    ) -> None:
        envelope_ms = self.now_ms + self._chance.choice([0, self._chance.randint(4, 20)])
        last_at_ms, last_envelope_ms = self._last_envelope
        if last_at_ms == self.now_ms:
            envelope_ms = max(envelope_ms, last_envelope_ms + 1)
        if organization is not None:
            carried = self._envelopes.setdefault((organization.id, organization.updated_at_ms), {})
            earlier = [told_ms for revision, told_ms in carried.items() if revision < organization.revision]
            envelope_ms = max([envelope_ms, *(told_ms + 1 for told_ms in earlier)])
            carried[organization.revision] = max(envelope_ms, carried.get(organization.revision, 0))
        self._last_envelope = (self.now_ms, envelope_ms)
        body = shapes.envelope(self._chance, event_type, data, at_ms=envelope_ms)
        self.events.append(Event(event_type, self.now_ms, envelope_ms, body, user, organization, membership))

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{''.join(self._chance.choices(_LETTERS, k=27))}"
