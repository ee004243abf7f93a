"""Look-ups of Ensure: those that wait together are one statement, by a connection of their own."""

import asyncio
from typing import Any

import pytest
from running import until
from stack import Stack
from watching import Connection

from clerksync.v1 import sync_service_pb2
from clerksync_server.database import profiles
from clerksync_server.database.connection import Database
from clerksync_server.database.facts import organization_lock, take_locks
from clerksync_server.sync import ensure

LOOKUPS = "application_name = 'clerksync lookups'"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each statement has looked up."""
    sizes: list[int] = []
    real = profiles.find_user_profiles

    async def counted(reader: Any, pairs: Any) -> Any:
        sizes.append(len(pairs))
        return await real(reader, pairs)

    monkeypatch.setattr(ensure, "find_user_profiles", counted)
    return sizes


async def test_what_waits_together_is_one_statement(stack: Stack, connection: Connection, asked: list[int]) -> None:
    """Calls that come while a look-up is on its way are one statement, and each has its own answer."""
    users = [f"user_{number}" for number in range(50)]
    for user in users:
        await stack.ensure_profile(user, "org_1")
    asked.clear()
    async with connection.transaction():
        await connection.execute("lock table public.user_profile in access exclusive mode")
        calls = [asyncio.create_task(stack.ensure_profile(user, "org_1")) for user in users]
        await asyncio.sleep(0.5)
    answers = await asyncio.gather(*calls)

    assert users == [answer.user_profile.clerk_user_id for answer in answers]
    assert 50 == sum(asked)
    assert len(asked) <= 3


async def test_a_lone_call_is_one_statement(stack: Stack, asked: list[int]) -> None:
    """Calls one after the other are looked up one by one, at once."""
    await stack.ensure_profile("user_1", "org_1")
    asked.clear()
    for _ in range(5):
        await stack.ensure_profile("user_1", "org_1")

    assert [1] * 5 == asked


async def test_batches_that_wait_together_are_one_statement(
    stack: Stack, connection: Connection, asked: list[int]
) -> None:
    """Batches that come while another is looked up are one statement, and each has its own answers, in its order."""
    users = [f"user_{number}" for number in range(60)]
    batches = [
        sync_service_pb2.BatchEnsureUserProfilesRequest(
            requests=[
                sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=user, clerk_org_id="org_1")
                for user in users[first::6]
            ]
        )
        for first in range(6)
    ]
    for batch in batches:
        await stack.sync.BatchEnsureUserProfiles(batch)
    asked.clear()
    async with connection.transaction():
        await connection.execute("lock table public.user_profile in access exclusive mode")
        calls = [asyncio.ensure_future(stack.sync.BatchEnsureUserProfiles(batch)) for batch in batches]
        await asyncio.sleep(0.5)
    answers = await asyncio.gather(*calls)

    assert [users[first::6] for first in range(6)] == [
        [result.response.user_profile.clerk_user_id for result in answer.results] for answer in answers
    ]
    assert 60 == sum(asked)
    assert len(asked) <= 3


async def test_no_look_up_reads_the_whole_table(connection: Connection) -> None:
    """However many pairs are asked for, and whatever share of the profiles they are, each is found by the index."""
    await connection.execute(
        """
        insert into public.organization (clerk_org_id, name) values ('org_1', 'One');
        insert into public.user_profile (clerk_user_id, clerk_org_id)
        select 'user_' || n, 'org_1' from generate_series(1, 5000) as n;
        analyze public.user_profile;
        """
    )
    pairs = [f"user_{number}" for number in range(1000)], ["org_1"] * 1000
    plan = await connection.fetch("explain " + profiles._SQL["read_user_profiles"], *pairs)

    assert "Index" in str(plan)
    assert "Seq Scan" not in str(plan)


async def test_times_are_exact(stack: Stack, connection: Connection) -> None:
    """Times are told to the microsecond; an infinite one, which callers cannot be told, fails nobody."""
    await stack.ensure_profile("user_1", "org_1")
    await connection.execute(
        "update public.user_profile "
        "set created_at = '2024-02-29 12:34:56.789012Z', updated_at = '1969-12-31 23:59:59.5Z'"
    )
    profile = (await stack.ensure_profile("user_1", "org_1")).user_profile
    assert "2024-02-29T12:34:56.789012Z" == profile.create_time.ToJsonString()
    assert "1969-12-31T23:59:59.500Z" == profile.update_time.ToJsonString()

    await connection.execute("update public.user_profile set created_at = '-infinity', updated_at = 'infinity'")
    profile = (await stack.ensure_profile("user_1", "org_1")).user_profile
    assert "0001-01-01T00:00:00Z" == profile.create_time.ToJsonString()
    assert "9999-12-31T23:59:00Z" == profile.update_time.ToJsonString()


async def test_look_ups_wait_for_no_lock(stack: Stack, connection: Connection) -> None:
    """While an organization is being deleted those whose profiles are there have their answers."""
    await stack.ensure_profile("user_1", "org_1")
    await stack.ensure_profile("user_2", "org_2")
    async with connection.transaction():
        await take_locks(connection, {organization_lock("org_1", exclusive=True)})
        blocked = [asyncio.create_task(stack.ensure_profile(f"user_new{n}", "org_1")) for n in range(20)]
        await asyncio.sleep(0.1)

        for _ in range(5):
            async with asyncio.timeout(2):
                await stack.ensure_profile("user_1", "org_1")
                await stack.ensure_profile("user_2", "org_2")
        assert not any(call.done() for call in blocked)
    await asyncio.gather(*blocked)


async def test_between_look_ups_no_transaction_is_open(stack: Stack, connection: Connection) -> None:
    """A connection that has prepared its statement and waits holds no transaction and no lock: migrations can pass."""
    await asyncio.gather(*(stack.ensure_profile(f"user_{number}", "org_1") for number in range(50)))
    await asyncio.gather(*(stack.ensure_profile(f"user_{number}", "org_1") for number in range(50)))

    idle = await connection.fetch(f"select state, xact_start, pid from pg_stat_activity where {LOOKUPS}")
    locks = await connection.fetchval(
        "select count(*) from pg_locks where pid = any($1::int [])", [row["pid"] for row in idle]
    )

    assert idle
    assert {("idle", None)} == {(row["state"], row["xact_start"]) for row in idle}
    assert 0 == locks
    async with asyncio.timeout(2):
        await connection.execute("alter table public.user_profile add column of_the_application text")


async def test_a_cut_connection_fails_nobody(stack: Stack, connection: Connection) -> None:
    """After Postgres has ended the connections for look-ups, calls succeed by new ones."""
    await stack.ensure_profile("user_1", "org_1")
    for _ in range(3):
        assert await connection.fetch(f"select pg_terminate_backend(pid) from pg_stat_activity where {LOOKUPS}")
        for _ in range(4):
            await stack.ensure_profile("user_1", "org_1")


async def test_a_column_that_changes_its_type_fails_nobody(stack: Stack, connection: Connection) -> None:
    """A migration that changes what a prepared statement returns costs no call."""
    await stack.ensure_profile("user_1", "org_1")
    await stack.ensure_profile("user_1", "org_1")
    await connection.execute("alter table public.user_profile alter column role type varchar(300)")

    await stack.ensure_profile("user_1", "org_1")


async def test_callers_who_went_away_leave_the_others_alone(stack: Stack) -> None:
    """Calls that are cancelled while they wait take no answer from those who stay."""
    await stack.ensure_profile("user_1", "org_1")
    calls = [asyncio.create_task(stack.ensure_profile("user_1", "org_1")) for _ in range(50)]
    await asyncio.sleep(0.002)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert {"user_1"} == {
        answer.user_profile.clerk_user_id for answer in answers[1::2] if not isinstance(answer, BaseException)
    }
    assert not any(isinstance(answer, BaseException) for answer in answers[1::2])


async def test_closing_the_database_closes_them(database_url: str, connection: Connection) -> None:
    """No connection for look-ups stays behind."""
    database = Database(database_url, pool_size=1)
    await database.open()
    reader = database.dedicated("lookups")
    await reader.fetch("select 1")
    await database.close()

    async def gone() -> bool:
        return not await connection.fetchval(f"select count(*) from pg_stat_activity where {LOOKUPS}")

    await until(gone, 2)
