"""Joins facts into the tables."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from clerksync_server.clock import timestamp_of
from clerksync_server.database.sql import load_queries
from clerksync_server.rules.decisions import Rule
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
)

if TYPE_CHECKING:
    import asyncpg

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


def locks_of_all(facts: Iterable[Fact]) -> dict[str, bool]:
    """The locks of several facts by name, each as strict as any of them needs it: nobody takes one lock twice."""
    # The stricter of two that have one name comes later, and stays.
    return dict(sorted(set().union(*map(locks_of, facts))))


async def take_locks(connection: "Connection", locks: set[Lock]) -> None:
    """Takes the locks until the transaction ends, in one order for all, so that nobody waits in a circle."""
    ordered = sorted(locks)
    await connection.fetch(_SQL["lock_keys"], [name for name, _ in ordered], [exclusive for _, exclusive in ordered])


async def try_locks(connection: "Connection", locks: Mapping[str, bool]) -> set[str]:
    """Takes what nobody else holds, by name and whether it is to be shared with nobody; returns what others hold."""
    rows = await connection.fetch(_SQL["try_lock_keys"], list(locks), list(locks.values()))
    return {row["name"] for row in rows}


async def join_fact(connection: "Connection", fact: Fact) -> Rule:  # noqa: PLR0911  (one for each kind of fact)
    """Joins a fact whose locks are held, and returns the rule that decided what it told of its subject.

    A membership's organization must have been joined before it.
    """
    match fact:
        case OrganizationSnapshot() | OrganizationMention():
            if await _join_organization(connection, fact):
                return Rule.NEWER
            deleted = await connection.fetchval(_SQL["is_deleted"], "organization", fact.clerk_org_id)
            return Rule.ORGANIZATION_DELETED if deleted else Rule.OLDER
        case OrganizationDeleted():
            deleted_at = timestamp_of(fact.deleted_at_ms)
            news = await connection.fetchval(_SQL["mark_deleted"], "organization", fact.clerk_org_id, deleted_at)
            await connection.execute(_SQL["delete_organization"], fact.clerk_org_id)
            return Rule.DELETED if news else Rule.ORGANIZATION_DELETED
        case UserSeen():
            deleted = await connection.fetchval(_SQL["is_deleted"], "user", fact.clerk_user_id)
            return Rule.USER_DELETED if deleted else Rule.SEEN
        case UserDeleted():
            deleted_at = timestamp_of(fact.deleted_at_ms)
            news = await connection.fetchval(_SQL["mark_deleted"], "user", fact.clerk_user_id, deleted_at)
            await connection.execute(_SQL["delete_profiles_of_user"], fact.clerk_user_id)
            return Rule.DELETED if news else Rule.USER_DELETED
        case MembershipSnapshot():
            return await _join_membership(connection, fact)
        case MembershipEnded():
            return await _end_membership(connection, fact)


async def _join_organization(connection: "Connection", fact: OrganizationSnapshot | OrganizationMention) -> bool:
    if isinstance(fact, OrganizationMention):
        return bool(await connection.fetchval(_SQL["insert_placeholder_organization"], fact.clerk_org_id))
    changed = await connection.fetchval(
        _SQL["upsert_organization"],
        fact.clerk_org_id,
        fact.name,
        fact.slug,
        fact.image_url,
        None if fact.created_at_ms is None else timestamp_of(fact.created_at_ms),
        timestamp_of(fact.version.updated_at_ms),
        timestamp_of(fact.version.event_at_ms),
    )
    return bool(changed)


async def _join_membership(connection: "Connection", fact: MembershipSnapshot) -> Rule:
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
    if changed:
        return Rule.NEWER
    standing = await _standing(connection, fact.clerk_user_id, fact.clerk_org_id, fact.generation)
    if standing["user_deleted"]:
        return Rule.USER_DELETED
    if standing["organization_deleted"]:
        return Rule.ORGANIZATION_DELETED
    return Rule.MEMBERSHIP_ENDED if standing["buried"] else Rule.OLDER


async def _end_membership(connection: "Connection", fact: MembershipEnded) -> Rule:
    removal = (
        fact.clerk_user_id,
        fact.clerk_org_id,
        timestamp_of(fact.through.created_at_ms),
        fact.through.membership_id,
        timestamp_of(fact.removed_at_ms),
    )
    changed = await connection.fetchval(_SQL["bury_membership"], *removal)
    await connection.execute(_SQL["delete_dead_profile"], *removal)
    standing = await _standing(connection, fact.clerk_user_id, fact.clerk_org_id, fact.through)
    if standing["user_deleted"]:
        return Rule.USER_DELETED
    if standing["organization_deleted"]:
        return Rule.ORGANIZATION_DELETED
    if standing["living"]:
        return Rule.LATER_MEMBERSHIP
    return Rule.REMOVED if changed else Rule.REMOVAL_KNOWN


async def _standing(
    connection: "Connection", clerk_user_id: str, clerk_org_id: str, generation: Generation
) -> "asyncpg.Record":
    row = await connection.fetchrow(
        _SQL["read_standing"],
        clerk_user_id,
        clerk_org_id,
        timestamp_of(generation.created_at_ms),
        generation.membership_id,
    )
    assert row is not None
    return row
