"""Joins the facts of many deliveries at once: reads what they concern, lets the rules decide, writes what changed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from clerksync_server.clock import milliseconds_of, timestamp_of
from clerksync_server.database.deliveries import Outcome
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
    Version,
)
from clerksync_server.rules.registers import OrganizationRegister, PairRegister, Tombstone, UserRegister
from clerksync_server.rules.world import PairKey, World

if TYPE_CHECKING:
    import asyncpg

    from clerksync_server.database.connection import Connection

_SQL = load_queries("batches.sql")
_LESS_THAN_1_MS = timedelta(microseconds=999)
"""Rounds up: evidence of a moment after a removal stands, and removals are timed in whole milliseconds."""
_BEGINNING_MS = -(10**14)
"""Before all evidence: what a provisional row of an earlier set-up rests on."""


class Overtaken(Exception):
    """A row was not written as it was decided: another transaction made it meanwhile, or a trigger left it out."""


@dataclass(slots=True)
class _Rows:
    """What the tables hold of all that the facts concern."""

    users: list[str]
    orgs: list[str]
    pairs: list[PairKey]
    world: World = field(default_factory=World)
    present: set[PairKey] = field(default_factory=set)
    """Whose profile is there, provisional or not."""
    provisional: dict[PairKey, int] = field(default_factory=dict)
    """The time of the evidence of each provisional profile."""


@dataclass(slots=True)
class _Removals:
    """Whose profiles went away in between; whoever joined again afterwards gets a new one."""

    pairs: set[PairKey] = field(default_factory=set)
    users: set[str] = field(default_factory=set)


async def lock_and_recall(
    connection: "Connection", locks: Mapping[str, bool], svix_ids: Collection[str]
) -> tuple[set[str], dict[str, Outcome]]:
    """Takes the locks that nobody else holds, by name and whether it is to be shared with nobody.

    Returns what others hold, and what became of the deliveries that are in the ledger.
    """
    rows = await connection.fetch(_SQL["lock_and_recall"], list(locks), list(locks.values()), list(svix_ids))
    held = {row["held"] for row in rows if row["held"] is not None}
    return held, {row["svix_id"]: Outcome(row["outcome"]) for row in rows if row["held"] is None}


async def join_facts(connection: "Connection", deliveries: Sequence[Sequence[Fact]]) -> list[Rule]:
    """Joins the facts of each delivery, one delivery after the other; returns the rule of the last fact of each.

    Their locks must be held. Organizations that were deleted are not for here: their profiles are not in memory.
    Raises Overtaken; nothing must be committed then.
    """
    rows = _concerned(fact for facts in deliveries for fact in facts)
    await _read(connection, rows)
    before = World(dict(rows.world.organizations), dict(rows.world.users), dict(rows.world.pairs))
    removals = _Removals()
    rules = [[_join(rows, removals, fact) for fact in facts][-1] for facts in deliveries]
    await _write(connection, before, rows, removals)
    return rules


def _concerned(facts: Iterable[Fact]) -> _Rows:
    users: set[str] = set()
    orgs: set[str] = set()
    pairs: set[PairKey] = set()
    for fact in facts:
        match fact:
            case OrganizationSnapshot() | OrganizationMention():
                orgs.add(fact.clerk_org_id)
            case UserSeen() | UserDeleted():
                users.add(fact.clerk_user_id)
            case MembershipSnapshot() | MembershipEnded():
                users.add(fact.clerk_user_id)
                orgs.add(fact.clerk_org_id)
                pairs.add((fact.clerk_user_id, fact.clerk_org_id))
            case OrganizationDeleted():
                raise ValueError("organizations are deleted apart")
    return _Rows(sorted(users), sorted(orgs), sorted(pairs))


async def _read(connection: "Connection", rows: _Rows) -> None:
    world = rows.world
    users = [user for user, _ in rows.pairs]
    orgs = [org for _, org in rows.pairs]
    world.users = {user: UserRegister() for user in rows.users}
    world.organizations = {org: OrganizationRegister() for org in rows.orgs}
    for row in await connection.fetch(_SQL["read_rows"], rows.users, rows.orgs, users, orgs):
        user, org = row["clerk_user_id"], row["clerk_org_id"]
        match row["subject"]:
            case "pair":
                _read_pair(rows, (user, org), row)
            case "organization":
                world.organizations[org] = replace(
                    world.organizations[org], mentioned=True, snapshot=_organization(row)
                )
            case "deleted organization":
                world.organizations[org] = replace(
                    world.organizations[org], deleted_at_ms=milliseconds_of(row["deleted_at"])
                )
            case _:
                world.users[user] = UserRegister(milliseconds_of(row["deleted_at"]))


def _read_pair(rows: _Rows, key: PairKey, row: "asyncpg.Record") -> None:
    rows.world.pairs[key] = PairRegister(living=_membership(row), tombstone=_tombstone(row))
    if not row["has_profile"]:
        return
    rows.present.add(key)
    if row["clerk_membership_id"] is None:
        evidence_at = row["evidence_at"]
        rows.provisional[key] = _BEGINNING_MS if evidence_at is None else milliseconds_of(evidence_at + _LESS_THAN_1_MS)


def _organization(row: "asyncpg.Record") -> OrganizationSnapshot | None:
    if row["clerk_updated_at"] is None:
        return None
    return OrganizationSnapshot(
        clerk_org_id=row["clerk_org_id"],
        name=row["name"],
        slug=row["slug"],
        image_url=row["image_url"],
        created_at_ms=None if row["clerk_created_at"] is None else milliseconds_of(row["clerk_created_at"]),
        version=Version(milliseconds_of(row["clerk_updated_at"]), milliseconds_of(row["clerk_event_at"])),
    )


def _membership(row: "asyncpg.Record") -> MembershipSnapshot | None:
    if row["clerk_membership_id"] is None:
        return None
    return MembershipSnapshot(
        clerk_user_id=row["clerk_user_id"],
        clerk_org_id=row["clerk_org_id"],
        generation=Generation(milliseconds_of(row["membership_created_at"]), row["clerk_membership_id"]),
        version=Version(milliseconds_of(row["membership_updated_at"]), milliseconds_of(row["membership_event_at"])),
        role=row["role"],
    )


def _tombstone(row: "asyncpg.Record") -> Tombstone | None:
    if row["removed_at"] is None:
        return None
    through = Generation(milliseconds_of(row["through_created_at"]), row["through_membership_id"])
    return Tombstone(through, milliseconds_of(row["removed_at"]))


def _join(rows: _Rows, removals: _Removals, fact: Fact) -> Rule:
    """Joins the fact into the world, and notes which profile it makes go away."""
    if isinstance(fact, UserDeleted):
        removals.users.add(fact.clerk_user_id)
    if not isinstance(fact, MembershipSnapshot | MembershipEnded):
        return rows.world.apply(fact)
    key = fact.clerk_user_id, fact.clerk_org_id
    was_living = rows.world.pairs[key].living is not None
    rule = rows.world.apply(fact)
    is_living = rows.world.pairs[key].living is not None
    evidence_ms = rows.provisional.get(key)
    if is_living:
        rows.provisional.pop(key, None)
    elif was_living:
        removals.pairs.add(key)
    elif isinstance(fact, MembershipEnded) and evidence_ms is not None and evidence_ms <= fact.removed_at_ms:
        removals.pairs.add(key)
        del rows.provisional[key]
    return rule


async def _write(connection: "Connection", before: World, rows: _Rows, removals: _Removals) -> None:
    after = rows.world
    deleted = {user: register for user, register in after.users.items() if register != before.users[user]}
    if deleted:
        times = [_moment(register.deleted_at_ms) for register in deleted.values()]
        await connection.execute(_SQL["mark_users_deleted"], list(deleted), times)
    ended = [key for key in removals.pairs if key[0] not in removals.users]
    if ended or removals.users:
        users, orgs = [user for user, _ in ended], [org for _, org in ended]
        await connection.execute(_SQL["delete_profiles"], users, orgs, list(removals.users))
    organizations = await _insert_organizations(connection, before, after)
    buried = [
        (*key, _moment(told.through.created_at_ms), told.through.membership_id, _moment(told.removed_at_ms))
        for key, register in after.pairs.items()
        if (told := register.tombstone) is not None and told != before.pairs[key].tombstone
    ]
    memberships = [
        (*_membership_values(membership), key not in rows.present or key in removals.pairs or key[0] in removals.users)
        for key, register in after.pairs.items()
        if (profile := after.profile(key)) is not None and (membership := profile.membership) is not None
        if key in removals.pairs or register.living != before.pairs[key].living
    ]
    if not (organizations or buried or memberships):
        return
    written = await connection.fetchrow(
        _SQL["write_rows"], *_columns(organizations, 7), *_columns(buried, 5), *_columns(memberships, 8)
    )
    if written is None or tuple(written) != (len(organizations), len(memberships)):
        raise Overtaken


async def _insert_organizations(connection: "Connection", before: World, after: World) -> list[tuple[object, ...]]:
    """Returns what is to be written of those that are there."""
    new: list[tuple[object, ...]] = []
    changed: list[tuple[object, ...]] = []
    for org, register in after.organizations.items():
        if not register.exists or register == before.organizations[org]:
            continue
        if before.organizations[org].mentioned:
            changed.append(_organization_values(org, register.snapshot))
        else:
            new.append(_organization_values(org, register.snapshot))
    if new:
        rows = await connection.fetch(_SQL["insert_organizations"], *_columns(new, 7))
        written = {row["clerk_org_id"] for row in rows}
        # Whoever made a placeholder's row meanwhile knew at least as much.
        if any(org not in written for org, _, _, _, _, updated_at, _ in new if updated_at is not None):
            raise Overtaken
    return changed


def _organization_values(org: str, told: OrganizationSnapshot | None) -> tuple[object, ...]:
    if told is None:
        return org, org, None, None, None, None, None
    times = (told.created_at_ms, told.version.updated_at_ms, told.version.event_at_ms)
    return (org, told.name, told.slug, told.image_url, *map(_moment, times))


def _membership_values(told: MembershipSnapshot) -> tuple[object, ...]:
    generation, version = told.generation, told.version
    times = (generation.created_at_ms, version.updated_at_ms, version.event_at_ms)
    return (told.clerk_user_id, told.clerk_org_id, generation.membership_id, *map(_moment, times), told.role)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else timestamp_of(milliseconds)


def _columns(rows: Sequence[Sequence[object]], number: int) -> Iterable[Sequence[object]]:
    """So many columns, also of no rows."""
    return zip(*rows, strict=True) if rows else [()] * number
