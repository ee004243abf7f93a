"""Many at once on the same few keys."""

import asyncio
import random

import bodies
from stack import Stack, now_ms

USERS = [f"user_{number}" for number in range(4)]
ORGS = [f"org_{number}" for number in range(3)]


async def test_deletions_among_memberships(stack: Stack) -> None:
    """Deleting users and organizations while their members come and go fails nothing and leaves nobody behind."""
    choose = random.Random(7)
    t = now_ms() - 60_000
    events = [
        bodies.membership(
            choose.choice(["created", "updated", "deleted"]),
            choose.choice(USERS),
            choose.choice(ORGS),
            at=t + choose.randrange(50),
            joined_at=t + choose.randrange(5),
        )
        for _ in range(300)
    ]
    events += [bodies.user("deleted", "user_0", at=t), bodies.organization("deleted", "org_0", at=t)]
    events += [bodies.user("deleted", "user_1", at=t), bodies.organization("deleted", "org_1", at=t)]
    choose.shuffle(events)

    answers = await asyncio.gather(*(stack.post(event) for event in events))

    assert {200} == {answer.status for answer in answers}
    left = await stack.rows("select clerk_user_id, clerk_org_id from user_profile")
    assert all(row["clerk_user_id"] in USERS[2:] and row["clerk_org_id"] == "org_2" for row in left)
    assert [{"count": len(events)}] == await stack.rows("select count(*) from clerksync.webhook_delivery")


async def test_a_removal_racing_a_stale_join(stack: Stack) -> None:
    """However a removal and the older join overlap, the removed member is not there afterwards."""
    t = now_ms() - 60_000
    pairs = [(f"user_{number}", "org_1") for number in range(100)]
    events = [bodies.membership("created", *pair, at=t, joined_at=t) for pair in pairs]
    events += [bodies.membership("deleted", *pair, at=t + 1, joined_at=t) for pair in pairs]
    random.Random(7).shuffle(events)

    answers = await asyncio.gather(*(stack.post(event) for event in events))

    assert {200} == {answer.status for answer in answers}
    assert await stack.rows("select clerk_user_id from user_profile") == []


async def test_the_same_delivery_many_times_at_once(stack: Stack) -> None:
    """Of many simultaneous attempts of one delivery exactly one is applied; the others wait and are duplicates."""
    body = bodies.organization("created", "org_1", at=now_ms())

    answers = await asyncio.gather(*(stack.post(body, svix_id="msg_1") for _ in range(50)))

    assert sorted(answer.outcome for answer in answers) == ["applied"] + ["duplicate"] * 49
