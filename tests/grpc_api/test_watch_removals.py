"""WatchRemovals: every replica tells who went away, at once and without a gap."""

import itertools
from typing import Any

import bodies
import pytest
from running import until
from stack import Stack, now_ms
from watching import Connection, Watch, another, join, leave, log, stack_ready


async def test_the_other_replica_hears(start_stack: Any) -> None:
    """What one replica removes the watchers of another hear, each kind of removal by the ids that went away."""
    one, other = await start_stack(), await start_stack()
    await join(one, "user_1", "user_2")
    await join(one, "user_2", "user_3", org="org_2")
    await stack_ready(other)

    async with Watch(other) as watch, Watch(one) as own:
        await watch.begun()
        await own.begun()
        await leave(one, "user_1")
        await watch.told(("user_1", "org_1"), within_s=1)
        await one.post(bodies.user("deleted", "user_2", at=now_ms()))
        await one.post(bodies.organization("deleted", "org_2", at=now_ms()))

        expected = {("user_1", "org_1"), ("user_2", ""), ("", "org_2")}
        await watch.told(*expected)
        await own.told(*expected)
        assert [True, *[False] * (len(watch.responses) - 1)] == watch.resets
        assert not watch.responses[0].removals


async def test_a_removed_provisional_profile_is_told(stack: Stack) -> None:
    """So is a profile that Ensure had made."""
    async with Watch(stack) as watch:
        await watch.begun()
        await stack.ensure_profile("user_1", "org_1", now_ms() - 1000)
        await leave(stack, "user_1")

        await watch.told(("user_1", "org_1"))


async def test_a_word_every_two_seconds(stack: Stack) -> None:
    """Without removals a checkpoint comes at least every 2 s, with a position that leads on."""
    async with Watch(stack) as watch:
        await until(lambda: len(watch.responses) >= 4, 10)

    assert all(later - earlier < 2 for earlier, later in itertools.pairwise(watch.times))
    assert [] == watch.removed


async def test_going_on_at_another_replica(start_stack: Any) -> None:
    """With the last position another replica tells what was missed; if it lags, perhaps also what was told before."""
    one, other = await start_stack(), await start_stack()
    await join(one, "user_1", "user_2", "user_3", "user_4")
    async with Watch(one) as watch:
        await watch.begun()
        await leave(one, "user_1")
        await watch.told(("user_1", "org_1"))
        position = watch.position
    await leave(one, "user_2", "user_3")

    async with Watch(other, position) as again:
        before = [("user_1", "org_1")]
        await again.told(("user_2", "org_1"), ("user_3", "org_1"), again=before)
        await leave(one, "user_4")
        await again.told(*((f"user_{number}", "org_1") for number in (2, 3, 4)), again=before)

    assert not any(again.resets)


async def test_what_commits_late_is_told(stack: Stack, connection: Connection) -> None:
    """A removal that began before another and commits after it is told, live and to who goes on from between."""
    async with Watch(stack) as watch, another(stack.database_url) as late:
        await watch.begun()
        transaction = late.transaction()
        await transaction.start()
        await log(late, "user_late")
        await log(connection, "user_early")
        await connection.execute("notify clerksync_removals")
        await watch.told(("user_early", "org_1"))
        between = watch.position
        await transaction.commit()
        await connection.execute("notify clerksync_removals")
        await watch.told(("user_early", "org_1"), ("user_late", "org_1"))

    async with Watch(stack, between) as again:
        await again.told(("user_late", "org_1"))
        assert [False] == again.resets[:1]


async def test_what_is_rolled_back_is_not_told(stack: Stack, connection: Connection) -> None:
    """A removal that is rolled back was none."""
    async with Watch(stack) as watch:
        await watch.begun()
        transaction = connection.transaction()
        await transaction.start()
        await log(connection, "user_1")
        await transaction.rollback()
        await log(connection, "user_2")

        await watch.told(("user_2", "org_1"))


@pytest.mark.parametrize(
    "change",
    [
        lambda _time, _epoch, _snapshot: "garbage",
        lambda _time, _epoch, _snapshot: "é" * 10,
        lambda time, epoch, _snapshot: f"{time}/{epoch}/",
        lambda time, epoch, _snapshot: f"{time}/{epoch}/0:1:",
        lambda time, epoch, _snapshot: f"{time}/{epoch}/9:5:",
        lambda time, epoch, _snapshot: f"{time}/{epoch}/1:5:4,3",
        lambda time, epoch, _snapshot: f"{time}/{epoch}/2:5:1",
        lambda time, epoch, _snapshot: f"{time}/{epoch}/1:5:5",
        lambda time, epoch, _snapshot: f"{time}/{epoch}/1:99999:{','.join(map(str, range(1, 20_000)))}",
        lambda time, epoch, _snapshot: f"{time}/{epoch}/700:999999999:",
        lambda time, epoch, snapshot: f"{int(time) - 15 * 60 * 1000 - 1}/{epoch}/{snapshot}",
        lambda time, _epoch, snapshot: f"{time}/00000000-0000-0000-0000-000000000000/{snapshot}",
    ],
    ids=[
        "garbage",
        "not ASCII",
        "no snapshot",
        "transaction 0",
        "ends before it begins",
        "not in order",
        "too early",
        "too late",
        "more than 64 KiB",
        "ahead",
        "more than 15 min old",
        "another epoch",
    ],
)
async def test_unknown_positions(stack: Stack, connection: Connection, change: Any) -> None:
    """A position that is none, too old, or of another lineage is answered by a reset, and the stream goes on."""
    async with Watch(stack) as watch:
        parts = (await watch.begun()).position.split("/")
    await join(stack, "user_1")

    async with Watch(stack, change(*parts)) as again:
        await again.begun()
        await leave(stack, "user_1")
        await again.told(("user_1", "org_1"))

    assert [True, False] == again.resets[:2]


async def test_a_position_of_nearly_15_minutes_ago(stack: Stack) -> None:
    """A position is good for 15 minutes."""
    async with Watch(stack) as watch:
        time, epoch, snapshot = (await watch.begun()).position.split("/")

    async with Watch(stack, f"{int(time) - 14 * 60 * 1000}/{epoch}/{snapshot}") as again:
        await again.begun()

    assert [False] == again.resets[:1]


async def test_large_parts(stack: Stack, connection: Connection) -> None:
    """At most 1,000 removals come at once; only the last part leads on, so going on from any of them skips nothing."""
    async with Watch(stack) as watch:
        position = (await watch.begun()).position
    await connection.execute(
        "insert into clerksync.removal (clerk_user_id) select 'user_' || n from generate_series(1, 2500) as n"
    )

    async with Watch(stack, position) as again:
        await until(lambda: len(again.removed) == 2500, 10)

    parts = [response for response in again.responses if response.removals]
    assert [1000, 1000, 500] == [len(part.removals) for part in parts]
    assert [position, position] == [part.position for part in parts[:2]]
    assert position != parts[2].position
