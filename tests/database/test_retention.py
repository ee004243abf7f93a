"""Forgetting: bounded tables, and still nobody who was removed comes back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bodies
import pytest
from running import run
from stack import Stack, now_ms

from clerksync_server.database.connection import Database
from clerksync_server.sync.retention import Pruned, Retention

DAY_MS = 24 * 60 * 60 * 1000


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, pool_size=3)
    await opened.open()
    yield opened
    await opened.close()


def retention(database: Database, *, now: Any = None, days: int = 90) -> Retention:
    kept = timedelta(days=days)
    return Retention(database, deliveries_kept=kept, tombstones_kept=kept, now=now or (lambda: datetime.now(UTC)))


async def age(stack: Stack, table: str, column: str, days: int) -> None:
    await stack.rows(f"update clerksync.{table} set {column} = {column} - interval '{days} days' returning 1")


async def test_what_is_old_is_forgotten(stack: Stack, database: Database) -> None:
    """Deliveries and tombstones past their retention go; younger ones, deleted entities and the quarantine stay."""
    t = now_ms()
    for user, days in (("user_old", 92), ("user_young", 89)):
        at = t - days * DAY_MS
        await stack.post(bodies.membership("deleted", user, "org_1", at=at, joined_at=at - 1), svix_id=f"msg_{user}")
    await stack.post(bodies.user("deleted", "user_gone", at=t - 500 * DAY_MS), svix_id="msg_gone")
    await age(stack, "webhook_delivery", "received_at", 91)
    await stack.post(bodies.organization("created", "org_1", at=t), svix_id="msg_young")

    pruned = await retention(database).prune()

    assert pruned == Pruned(deliveries=3, tombstones=1, removals=0)
    assert await stack.rows("select svix_id from clerksync.webhook_delivery") == [{"svix_id": "msg_young"}]
    assert await stack.rows("select clerk_user_id from clerksync.membership_tombstone") == [
        {"clerk_user_id": "user_young"}
    ]
    assert await stack.rows("select clerk_id from clerksync.deleted_entity") == [{"clerk_id": "user_gone"}]


async def test_the_quarantine_keeps_the_tombstones_it_needs(stack: Stack, database: Database) -> None:
    """An old join that waits in quarantine is still refused when it is redriven after the pruning."""
    at = now_ms() - 95 * DAY_MS
    await stack.post(b"not understood", svix_id="msg_quarantined")
    await age(stack, "webhook_delivery", "received_at", 92)
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=at, joined_at=at - 1))

    assert (await retention(database).prune()).tombstones == 0
    assert await stack.rows("select outcome from clerksync.webhook_delivery where svix_id = 'msg_quarantined'")

    await stack.rows("delete from clerksync.webhook_delivery where svix_id = 'msg_quarantined' returning 1")
    assert (await retention(database).prune()).tombstones == 1


async def test_a_pruned_tombstone_is_not_missed(stack: Stack, database: Database) -> None:
    """Once a removal is forgotten, a token from before it is too old to prove anything."""
    at = now_ms() - 92 * DAY_MS
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=at, joined_at=at - 1))
    await retention(database).prune()

    with pytest.raises(Exception, match="older than removals are remembered"):
        await stack.ensure_profile("user_1", "org_1", at - 1)


async def test_a_repeat_after_the_ledger_forgot_it(stack: Stack, database: Database) -> None:
    """A delivery that is replayed after its entry was pruned is harmless: its facts join."""
    t = now_ms() - 1000
    join = bodies.membership("created", "user_1", "org_1", at=t, joined_at=t)
    await stack.post(join, svix_id="msg_1")
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=t + 1, joined_at=t), svix_id="msg_2")
    await age(stack, "webhook_delivery", "received_at", 91)
    assert (await retention(database).prune()).deliveries == 2

    assert (await stack.post(join, svix_id="msg_1")).outcome == "stale"
    assert await stack.rows("select id from user_profile") == []


async def test_a_clock_that_jumped_forgets_nothing(stack: Stack, database: Database) -> None:
    """Of the service's clock and the database's the earlier one counts."""
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=now_ms(), joined_at=now_ms() - 1))

    pruned = await retention(database, now=lambda: datetime.now(UTC) + timedelta(days=400)).prune()

    assert pruned == Pruned(0, 0, 0)


async def test_told_removals_are_forgotten(stack: Stack, database: Database) -> None:
    """The log of removals keeps an hour, by the earlier of two clocks."""
    log = "insert into clerksync.removal (clerk_user_id, logged_at) values ($1, now() - $2::interval) returning 1"
    await stack.rows(log, "user_old", timedelta(minutes=61))
    await stack.rows(log, "user_young", timedelta(minutes=59))

    assert (await retention(database, now=lambda: datetime.now(UTC) - timedelta(minutes=5)).prune()).removals == 0
    assert (await retention(database, now=lambda: datetime.now(UTC) + timedelta(days=1)).prune()).removals == 1
    assert await stack.rows("select clerk_user_id from clerksync.removal") == [{"clerk_user_id": "user_young"}]


async def test_in_batches_and_one_at_a_time(stack: Stack, database: Database) -> None:
    """Thousands of rows go in batches; processes that prune at once share the work without error."""
    await stack.rows(
        "insert into clerksync.webhook_delivery (svix_id, attempted_at, received_at, outcome, body_sha256) "
        "select 'msg_' || n, now(), now() - interval '91 days', 'applied', '\\x00' "
        "from generate_series(1, 3500) as n returning 1"
    )

    results = await asyncio.gather(*(retention(database).prune() for _ in range(3)))

    left = await retention(database).prune()
    assert sum(result.deliveries for result in results) + left.deliveries == 3500
    assert await stack.rows("select count(*) from clerksync.webhook_delivery") == [{"count": 0}]


async def test_the_command(stack: Stack) -> None:
    """`clerksync prune` forgets what is due by the settings, and says how much."""
    at = now_ms() - 4 * DAY_MS
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=at, joined_at=at - 1))
    environment = {"DATABASE_URL": stack.database_url, "CLERKSYNC_TOMBSTONE_RETENTION_DAYS": "2"}

    pruned = await asyncio.to_thread(run, "prune", environment=environment)

    assert pruned.stdout == "forgot 0 deliveries and 1 tombstones\n"
