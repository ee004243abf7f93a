"""Joins facts into the tables."""

from typing import TYPE_CHECKING

from clerksync_server.clock import timestamp_of
from clerksync_server.database.sql import load_queries
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
from clerksync_server.rules.world import Effect

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_SQL = load_queries("facts.sql")
Lock = tuple[str, bool]
"""The name of what is locked, and whether nobody else may share it."""


def organization_lock(clerk_org_id: str, *, exclusive: bool = False) -> Lock:
    return f"clerksync:1:organization:{clerk_org_id}", exclusive


def user_lock(clerk_user_id: str, *, exclusive: bool = False) -> Lock:
    return f"clerksync:2:user:{clerk_user_id}", exclusive


def pair_lock(clerk_user_id: str, clerk_org_id: str) -> Lock:
    # No id contains a space.
    return f"clerksync:3:pair:{clerk_user_id} {clerk_org_id}", True


def locks_of(fact: Fact) -> set[Lock]:
    """What must not change while the fact is joined.

    Deleting an organization or a user reaches rows of many pairs, so it excludes all who share its lock.
    """
    match fact:
        case OrganizationSnapshot() | OrganizationMention():
            return {organization_lock(fact.clerk_org_id)}
        case OrganizationDeleted():
            return {organization_lock(fact.clerk_org_id, exclusive=True)}
        case UserSeen():
            return {user_lock(fact.clerk_user_id)}
        case UserDeleted():
            return {user_lock(fact.clerk_user_id, exclusive=True)}
        case MembershipSnapshot() | MembershipEnded():
            return {
                organization_lock(fact.clerk_org_id),
                user_lock(fact.clerk_user_id),
                pair_lock(fact.clerk_user_id, fact.clerk_org_id),
            }


async def take_locks(connection: "Connection", locks: set[Lock]) -> None:
    """Takes the locks until the transaction ends, in one order for all, so that nobody waits in a circle."""
    ordered = sorted(locks)
    await connection.fetch(_SQL["lock_keys"], [name for name, _ in ordered], [exclusive for _, exclusive in ordered])


async def join_fact(connection: "Connection", fact: Fact) -> Effect:
    """Joins a fact whose locks are held. A membership's organization must have been joined before it."""
    match fact:
        case OrganizationSnapshot():
            created_at_ms = fact.created_at_ms
            changed = await connection.fetchval(
                _SQL["upsert_organization"],
                fact.clerk_org_id,
                fact.name,
                fact.slug,
                fact.image_url,
                None if created_at_ms is None else timestamp_of(created_at_ms),
                timestamp_of(fact.version.updated_at_ms),
                timestamp_of(fact.version.event_at_ms),
            )
        case OrganizationMention():
            changed = await connection.fetchval(_SQL["insert_placeholder_organization"], fact.clerk_org_id)
        case OrganizationDeleted():
            deleted_at = timestamp_of(fact.deleted_at_ms)
            changed = await connection.fetchval(_SQL["mark_deleted"], "organization", fact.clerk_org_id, deleted_at)
            await connection.execute(_SQL["delete_organization"], fact.clerk_org_id)
        case UserSeen():
            changed = not await connection.fetchval(_SQL["is_user_deleted"], fact.clerk_user_id)
        case UserDeleted():
            deleted_at = timestamp_of(fact.deleted_at_ms)
            changed = await connection.fetchval(_SQL["mark_deleted"], "user", fact.clerk_user_id, deleted_at)
            await connection.execute(_SQL["delete_profiles_of_user"], fact.clerk_user_id)
        case MembershipSnapshot():
            changed = await connection.fetchval(
                _SQL["upsert_membership"],
                fact.clerk_user_id,
                fact.clerk_org_id,
                fact.generation.membership_id,
                timestamp_of(fact.generation.created_at_ms),
                timestamp_of(fact.version.updated_at_ms),
                timestamp_of(fact.version.event_at_ms),
                fact.role,
            )
        case MembershipEnded():
            changed = await _end_membership(connection, fact)
    return Effect.APPLIED if changed else Effect.STALE


async def _end_membership(connection: "Connection", fact: MembershipEnded) -> bool:
    removal = (
        fact.clerk_user_id,
        fact.clerk_org_id,
        timestamp_of(fact.through.created_at_ms),
        fact.through.membership_id,
        timestamp_of(fact.removed_at_ms),
    )
    changed = await connection.fetchval(_SQL["bury_membership"], *removal)
    await connection.execute(_SQL["delete_dead_profile"], *removal)
    stale = await connection.fetchval(_SQL["is_removal_stale"], fact.clerk_user_id, fact.clerk_org_id)
    return bool(changed) and not stale
