"""What each replica follows the log of removals by: its connection, and what becomes of it."""

import asyncio
import os
import signal
from typing import Any

import bodies
import pytest
from running import until
from stack import Stack, now_ms
from watching import FEED, Connection, Watch, join, leave, stack_ready

from clerksync_server.database.migrate import migrate
from clerksync_server.ops import metrics


@pytest.fixture
def transport(chosen_transport: str) -> str:
    """One is enough: these are about the connection to Postgres, and waiting for it takes long."""
    return chosen_transport


async def test_who_removes_nobody_pays_nothing(stack: Stack, connection: Connection) -> None:
    """Events and calls that remove nobody write no row of the log and notify nobody."""
    heard: list[object] = []
    await stack_ready(stack)

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        if not str(payload).startswith("probe"):  # By which the feed finds out whether notifications arrive.
            heard.append(payload)

    await connection.add_listener("clerksync_removals", hear)
    t = now_ms()

    await join(stack, "user_1", "user_2")
    await stack.ensure_profile("user_3", "org_1", t)
    await stack.post(bodies.organization("updated", "org_1", at=t))
    await stack.post(bodies.user("updated", "user_1", at=t))
    await leave(stack, "user_unknown")
    await stack.post(bodies.membership("deleted", "user_1", "org_1", at=1, joined_at=1))
    await stack.post(bodies.organization("deleted", "org_unknown", at=t))
    await stack.post(bodies.user("deleted", "user_unknown", at=t))
    await connection.execute("select 1")

    assert [] == heard
    assert await stack.rows("select from clerksync.removal") == []
    written = "select n_tup_ins from pg_stat_user_tables where relname = 'removal'"
    assert await stack.rows(written) == [{"n_tup_ins": 0}]

    await leave(stack, "user_1")
    await until(lambda: heard, 5)
    await leave(stack, "user_1")
    await stack.post(bodies.user("deleted", "user_1", at=now_ms()))

    assert [""] == heard
    assert await stack.rows("select clerk_user_id, clerk_org_id from clerksync.removal") == [
        {"clerk_user_id": "user_1", "clerk_org_id": "org_1"}
    ]
    await connection.reset()


async def test_between_two_looks_nothing_is_open(stack: Stack, connection: Connection) -> None:
    """The connection of the feed holds neither a transaction nor a lock while it waits."""
    await stack_ready(stack)
    states = []
    for _ in range(5):
        await asyncio.sleep(0.05)
        states += await connection.fetch(f"select state, xact_start, backend_xmin from pg_stat_activity where {FEED}")
    held = f"select count(*) from pg_locks where pid in (select pid from pg_stat_activity where {FEED})"

    assert [("idle", None, None)] * 5 == list(map(tuple, states))
    assert await connection.fetchval(held) == 0


async def test_the_connection_is_cut(stack: Stack, connection: Connection) -> None:
    """When its connection is cut the feed connects again and goes on where it was, without a gap or a reset."""
    await join(stack, "user_1")
    async with Watch(stack) as watch:
        await watch.begun()
        await connection.execute("alter table clerksync.removal rename to elsewhere")
        await connection.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {FEED}")
        await until(lambda: metrics.REMOVAL_FEED_UP._value.get() == 0, 5)
        number = len(watch.responses)
        await asyncio.sleep(2.5)
        assert number == len(watch.responses)
        await connection.execute("alter table clerksync.elsewhere rename to removal")
        await leave(stack, "user_1")

        await watch.told(("user_1", "org_1"))
        assert [True, *[False] * (len(watch.responses) - 1)] == watch.resets


async def test_the_connection_freezes(stack: Stack, connection: Connection) -> None:
    """When its connection answers nothing any more the feed makes another one, and goes on without a gap or a reset."""
    await join(stack, "user_1")
    async with Watch(stack) as watch:
        await watch.begun()
        frozen = await connection.fetchval(f"select pid from pg_stat_activity where {FEED}")
        os.kill(frozen, signal.SIGSTOP)
        try:
            await leave(stack, "user_1")
            await watch.told(("user_1", "org_1"), within_s=10)
        finally:
            os.kill(frozen, signal.SIGCONT)

        assert [True, *[False] * (len(watch.responses) - 1)] == watch.resets


async def test_another_lineage(stack: Stack, connection: Connection) -> None:
    """After a crash of Postgres, which empties the table with the epoch, every watcher starts anew."""
    await join(stack, "user_1")
    async with Watch(stack) as watch:
        before = (await watch.begun()).position
        await connection.execute("truncate clerksync.removal_epoch")
        await until(lambda: sum(watch.resets) == 2, 10)
        await leave(stack, "user_1")
        await watch.told(("user_1", "org_1"))

        async with Watch(stack, before) as old, Watch(stack, watch.position) as new:
            await old.begun()
            await new.begun()

    assert ([True], [False]) == (old.resets[:1], new.resets[:1])


async def test_before_there_is_a_connection(start_stack: Any, empty_database: str) -> None:
    """A stream that is opened while removals cannot be followed is silent, and begins when they can."""
    stack = await start_stack(DATABASE_URL=empty_database)
    async with Watch(stack) as watch:
        await asyncio.sleep(0.5)
        assert [] == watch.responses
        await migrate(empty_database)
        await watch.begun()

    assert [True] == watch.resets[:1]
