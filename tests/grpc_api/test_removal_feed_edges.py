"""More of the feed of removals."""

import asyncio
from typing import Any

import asyncpg
import bodies
import pytest
from running import until
from stack import Stack, error_info, now_ms
from watching import FEED, Connection, Watch, join, log, stack_ready

from clerksync.v1 import sync_service_pb2
from clerksync_server.database import profiles
from clerksync_server.database.listening import listening
from clerksync_server.sync import ensure_batches, removals


async def test_nothing_is_lost_between_what_was_missed_and_what_follows(
    stack: Stack, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is removed after a watcher's past was read and before its first update is sent is told as well."""
    await stack_ready(stack)
    feed = stack.application._service._removals  # type: ignore[union-attr]
    real = removals.RemovalFeed._first

    async def first(self: removals.RemovalFeed, text: str) -> removals.Update:
        update = await real(self, text)
        before = feed._position
        await log(connection, "user_between")
        await connection.execute("notify clerksync_removals")
        await until(lambda: feed._position is not before, 5)
        return update

    monkeypatch.setattr(removals.RemovalFeed, "_first", first)
    async with Watch(stack) as watch:
        await watch.told(("user_between", "org_1"))


async def test_who_comes_while_nothing_is_known_hears_nothing(stack: Stack, connection: Connection) -> None:
    """A stream that is opened while the feed is cut is silent, also where it was up before."""
    await join(stack, "user_1")
    await stack_ready(stack)
    await connection.execute("alter table clerksync.removal rename to elsewhere")
    await connection.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {FEED}")
    feed = stack.application._service._removals  # type: ignore[union-attr]
    await until(lambda: feed._problem is not None, 5)
    async with Watch(stack) as watch:
        await asyncio.sleep(1)
        assert [] == watch.responses
        await connection.execute("alter table clerksync.elsewhere rename to removal")
        await watch.begun()


async def test_rows_of_a_restored_dump_are_not_told(stack: Stack, connection: Connection) -> None:
    """A row whose transaction is still to come here, because it is a dump's, is told to nobody."""
    async with Watch(stack) as watch:
        position = (await watch.begun()).position
        await connection.execute(
            "insert into clerksync.removal (transaction_id, clerk_user_id) values ('999999999999'::xid8, 'user_future')"
        )
        await log(connection, "user_1")
        await connection.execute("notify clerksync_removals")
        await watch.told(("user_1", "org_1"))
    async with Watch(stack, position) as again:
        await again.told(("user_1", "org_1"))


async def test_a_notification_before_the_wait_is_not_lost(database_url: str) -> None:
    """A notification that comes before anybody waits ends the wait."""
    async with listening(database_url) as listener:
        other = await asyncpg.connect(database_url)
        await other.execute("notify clerksync_removals")
        await listener.session.connection.execute("select 1")
        await other.close()
        async with asyncio.timeout(1):
            await listener.wait(30)


async def test_a_cut_wakes(database_url: str) -> None:
    """Whoever waits finds out at once that the connection is gone."""
    async with listening(database_url) as listener:
        waiting = asyncio.create_task(listener.wait(30))
        await asyncio.sleep(0.05)
        listener.session.connection.terminate()
        async with asyncio.timeout(1):
            await waiting


async def test_locks_are_taken_for_a_few_at_a_time(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the batch, a transaction locks no more than Postgres has room for."""
    sizes: list[int] = []
    real = profiles.insert_provisional_profiles

    async def counted(connection: Any, evidence: Any, **more: Any) -> Any:
        sizes.append(len(evidence))
        return await real(connection, evidence, **more)

    monkeypatch.setattr(ensure_batches, "insert_provisional_profiles", counted)
    asked = [sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=f"u{n}", clerk_org_id="o") for n in range(150)]
    request = sync_service_pb2.BatchEnsureUserProfilesRequest(requests=asked)
    await stack.sync.BatchEnsureUserProfiles(request)
    assert [64, 64, 22] == sizes
    await stack.sync.BatchEnsureUserProfiles(request)  # What is there locks nothing.
    assert [64, 64, 22] == sizes


async def test_who_comes_while_it_stops_is_sent_away(stack: Stack) -> None:
    """A stream that is opened while the replica drains is not begun."""
    stack.application._service._server._calls._refusing = True  # type: ignore[union-attr]
    async with Watch(stack) as watch:
        failure = await watch.failure()
    assert error_info(failure).reason == "SHUTTING_DOWN"


async def test_deletions_notify(stack: Stack, connection: Connection) -> None:
    """A deletion that takes rows along notifies as a removal does: nobody waits for the next look."""
    heard: list[object] = []
    await stack_ready(stack)
    await join(stack, "user_1", "user_2")
    await connection.add_listener("clerksync_removals", lambda *args: heard.append(args[-1]))
    await stack.post(bodies.user("deleted", "user_1", at=now_ms()))
    await until(lambda: [""] == heard, 1)
    await stack.post(bodies.organization("deleted", "org_1", at=now_ms()))
    await until(lambda: ["", ""] == heard, 1)
    await connection.reset()
