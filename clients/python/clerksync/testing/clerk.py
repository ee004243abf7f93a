"""What happens in Clerk, as far as its webhooks tell of it."""

import itertools
from datetime import datetime

from clerksync.testing import checks
from clerksync.testing.stage import Stage, now_ms
from clerksync_server.rules.facts import (
    Generation,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationMention,
    OrganizationSnapshot,
    UserDeleted,
    Version,
)


class Clerk:
    """Each method is an event that has been delivered when it returns. `at` is its time by Clerk's clock: now.

    Events follow the real rules: one that is older than what is known changes nothing, and deletions are final.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._memberships = itertools.count(1)

    def join(
        self, clerk_user_id: str, clerk_org_id: str, role: str | None = "org:member", *, at: datetime | None = None
    ) -> None:
        """The user becomes a member; who is one already has this role from now on."""
        _check(clerk_user_id=clerk_user_id, clerk_org_id=clerk_org_id)
        with self._stage.changed:
            living = self._stage.rows.membership((clerk_user_id, clerk_org_id))
            # Among events of one millisecond the last is to win.
            at_ms = _at_ms(at, after_ms=None if living is None else living.version.updated_at_ms)
            generation = Generation(at_ms, self._new_membership_id()) if living is None else living.generation
            self._stage.rows.apply(
                OrganizationMention(clerk_org_id),
                MembershipSnapshot(clerk_user_id, clerk_org_id, generation, Version(at_ms, at_ms), role),
            )

    def remove(self, clerk_user_id: str, clerk_org_id: str, *, at: datetime | None = None) -> None:
        """The user is removed from the organization, or leaves it. Watchers are told if there was a profile."""
        _check(clerk_user_id=clerk_user_id, clerk_org_id=clerk_org_id)
        with self._stage.changed:
            at_ms = _at_ms(at)
            living = self._stage.rows.membership((clerk_user_id, clerk_org_id))
            through = Generation(at_ms, self._new_membership_id()) if living is None else living.generation
            ended = MembershipEnded(clerk_user_id, clerk_org_id, through, at_ms)
            if self._stage.rows.apply(OrganizationMention(clerk_org_id), ended):
                self._stage.removals.add(clerk_user_id=clerk_user_id, clerk_org_id=clerk_org_id)
                self._stage.changed.notify_all()

    def delete_user(self, clerk_user_id: str, *, at: datetime | None = None) -> None:
        """The user is deleted, with all profiles. Final: Clerk never uses an id again."""
        _check(clerk_user_id=clerk_user_id)
        with self._stage.changed:
            if self._stage.rows.apply(UserDeleted(clerk_user_id, _at_ms(at))):
                self._stage.removals.add(clerk_user_id=clerk_user_id)
                self._stage.changed.notify_all()

    def delete_organization(self, clerk_org_id: str, *, at: datetime | None = None) -> None:
        """The organization is deleted, with all its profiles. Final: Clerk never uses an id again."""
        _check(clerk_org_id=clerk_org_id)
        with self._stage.changed:
            if self._stage.rows.apply(OrganizationDeleted(clerk_org_id, _at_ms(at))):
                self._stage.removals.add(clerk_org_id=clerk_org_id)
                self._stage.changed.notify_all()

    def rename_organization(
        self,
        clerk_org_id: str,
        name: str,
        *,
        slug: str | None = None,
        image_url: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """The organization is created, or has this name, slug and logo from now on."""
        _check(clerk_org_id=clerk_org_id)
        if not name:
            raise ValueError("name is empty: in Clerk every organization has one")
        with self._stage.changed:
            known = self._stage.rows.snapshot(clerk_org_id)
            at_ms = _at_ms(at, after_ms=None if known is None else known.version.updated_at_ms)
            version = Version(at_ms, at_ms)
            self._stage.rows.apply(OrganizationSnapshot(clerk_org_id, name, slug, image_url, at_ms, version))

    def _new_membership_id(self) -> str:
        # Of two memberships that began in one millisecond the one with the higher id counts.
        return f"orgmem_fake{next(self._memberships):012}"


def _check(**ids: str) -> None:
    if wrong := checks.wrong_ids(**ids):
        raise ValueError("; ".join(f"{name} {text}" for name, text in wrong.items()))


def _at_ms(at: datetime | None, *, after_ms: int | None = None) -> int:
    if at is None:
        return now_ms() if after_ms is None else max(now_ms(), after_ms + 1)
    if at.tzinfo is None:
        raise ValueError("`at` has no time zone; expected for example datetime.now(UTC)")
    return int(at.timestamp() * 1000)
