"""The client against the real SyncService on a real Postgres."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import bodies
import pytest
from stack import Stack, now_ms
from transports import TRANSPORTS

import clerksync
from clerksync import SyncClient
from client.waiting import in_step, until

MINUTE_MS = 60_000

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[SyncClient]:
    async with SyncClient(stack.target) as made:
        await in_step(made)
        yield made


async def test_profiles_are_made_and_kept(client: SyncClient, stack: Stack) -> None:
    """A profile is made once, alone or in a batch, and is the row of the table."""
    alone = await client.ensure_user_profile("user_0", "org_1", time.time() - 1)
    together = await asyncio.gather(
        *(client.ensure_user_profile(f"user_{n}", "org_1", time.time() - 1) for n in range(20))
    )
    rows = await stack.rows("select id::text as id, clerk_user_id from user_profile")

    assert [True, False] == [alone.created, together[0].created]
    assert {row["clerk_user_id"]: row["id"] for row in rows} == {
        ensured.profile.clerk_user_id: ensured.profile.id for ensured in together
    }
    assert 2 == client.stats.calls
    assert alone == clerksync.EnsuredUserProfile(together[0].profile, created=True)


async def test_refusals_say_why(client: SyncClient, stack: Stack) -> None:
    """Each reason of SyncService is an error of its own, alone and in a batch."""
    now = now_ms()
    await stack.post(bodies.membership("created", "user_1", "org_1", at=now - MINUTE_MS, joined_at=now - MINUTE_MS))
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=now, joined_at=now - MINUTE_MS))
    await stack.post(bodies.user("deleted", "user_2", at=now))
    await stack.post(bodies.organization("deleted", "org_3", at=now))
    asked = [("user_1", "org_1", now / 1000 - 5), ("user_2", "org_1", None), ("user_4", "org_3", None)]
    asked.append(("user_5", "org_1", time.time() - 91 * 86_400))
    expected = [
        clerksync.MembershipRemoved,
        clerksync.UserDeleted,
        clerksync.OrganizationDeleted,
        clerksync.EvidenceTooOld,
    ]

    alone = [await asyncio.gather(client.ensure_user_profile(*question), return_exceptions=True) for question in asked]
    together = await asyncio.gather(
        *(client.ensure_user_profile(*question) for question in asked), return_exceptions=True
    )

    assert expected == [type(outcome) for (outcome,) in alone]
    assert expected == [type(outcome) for outcome in together]


async def test_a_webhook_ends_what_is_kept(client: SyncClient, stack: Stack) -> None:
    """A removal that Clerk tells of by webhook reaches the cache by itself, and leaves the others alone."""
    joined_at = now_ms() - MINUTE_MS
    for user in ("user_1", "user_2"):
        await stack.post(bodies.membership("created", user, "org_1", at=joined_at, joined_at=joined_at))
        await client.ensure_user_profile(user, "org_1")
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=now_ms(), joined_at=joined_at))
    await until(lambda: client.kept_user_profile("user_1", "org_1") is None, within_s=1)

    assert client.kept_user_profile("user_2", "org_1") is not None
    with pytest.raises(clerksync.MembershipRemoved):
        await client.ensure_user_profile("user_1", "org_1", joined_at / 1000)


async def test_it_outlives_a_restart(start_stack: "object", database_url: str) -> None:
    """While one of two replicas stops calls go on at the other, and removals are still heard."""
    first: Stack = await start_stack()  # type: ignore[operator]
    second: Stack = await start_stack()  # type: ignore[operator]
    port = [stack.target.rpartition(":")[2] for stack in (first, second)]
    async with SyncClient(f"ipv4:127.0.0.1:{port[0]},127.0.0.1:{port[1]}") as client:
        await in_step(client)
        joined_at = now_ms() - MINUTE_MS
        await second.post(bodies.membership("created", "user_1", "org_1", at=joined_at, joined_at=joined_at))
        await client.ensure_user_profile("user_1", "org_1")
        stopping = asyncio.create_task(first.application.stop())
        for number in range(200):
            await client.ensure_user_profile(f"user_x{number}", "org_1")
            await asyncio.sleep(0.005)
        await stopping
        await second.post(bodies.membership("deleted", "user_1", "org_1", at=now_ms(), joined_at=joined_at))
        await until(lambda: client.kept_user_profile("user_1", "org_1") is None, within_s=3)

        assert {} == dict(client.stats.failures)


async def test_kept_answers_follow_clerk(start_stack: "object") -> None:
    """Over random joins and removals through two replicas, what clients keep is soon what the table holds."""
    first: Stack = await start_stack()  # type: ignore[operator]
    second: Stack = await start_stack()  # type: ignore[operator]
    chance = random.Random(20261122)
    users, organizations = [f"user_{n}" for n in range(6)], ["org_1", "org_2"]
    joined: dict[tuple[str, str], int] = {}
    at = now_ms() - 60 * MINUTE_MS
    async with SyncClient(first.target) as one, SyncClient(second.target) as two:
        await in_step(one)
        await in_step(two)
        for step in range(300):
            at += 1000
            pair = chance.choice(users), chance.choice(organizations)
            stack = chance.choice([first, second])
            match chance.randrange(4):
                case 0 if pair not in joined:
                    joined[pair] = at
                    await stack.post(bodies.membership("created", *pair, at=at, joined_at=at))
                case 1 if pair in joined:
                    await stack.post(bodies.membership("deleted", *pair, at=at, joined_at=joined.pop(pair)))
                case _:
                    asking = (client.ensure_user_profile(*pair, at / 1000) for client in (one, two))
                    await asyncio.gather(*asking, return_exceptions=True)
            if step % 20 == 19:
                removed = (await first.rows("select count(*) from clerksync.removal"))[0]["count"]
                await until(lambda: min(one.stats.removals, two.stats.removals) >= removed)  # noqa: B023
                rows = {
                    (row["clerk_user_id"], row["clerk_org_id"]): row["id"]
                    for row in await first.rows("select id::text as id, clerk_user_id, clerk_org_id from user_profile")
                }
                for client in (one, two):
                    for user in users:
                        for organization in organizations:
                            if (kept := client.kept_user_profile(user, organization)) is not None:
                                assert rows.get((user, organization)) == kept.profile.id
