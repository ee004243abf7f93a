"""Transactions by a dedicated connection: all or nothing, never twice, and nothing open between them."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from watching import Connection

from clerksync_server.database.connection import Database
from clerksync_server.database.dedicated import DedicatedConnection
from clerksync_server.database.errors import HeldUp
from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable

if TYPE_CHECKING:
    from clerksync_server.database.statements import Statements

OURS = "application_name = 'clerksync test' and datname = current_database()"
CUT_AT_COMMIT = """
create function public.cut() returns trigger language plpgsql as $$
begin
    perform pg_terminate_backend(pg_backend_pid());
    return null;
end $$;
create constraint trigger cut after insert on public.noted deferrable initially deferred
for each row execute function public.cut();
"""

SLOW = """
create function public.slow() returns trigger language plpgsql as $$
begin
    perform pg_sleep(20);
    return null;
end $$;
create trigger slow after insert on public.noted for each row execute function public.slow();
"""


@pytest.fixture
async def database(database_url: str, connection: Connection) -> AsyncIterator[Database]:
    await connection.execute("create table public.noted (n bigint primary key, text text)")
    database = Database(database_url, pool_size=1)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def dedicated(database: Database) -> DedicatedConnection:
    return database.dedicated("test")


async def note(dedicated: DedicatedConnection, number: int) -> None:
    async def work(statements: "Statements") -> None:
        await statements.execute("insert into public.noted (n) values ($1)", number)

    await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5)


async def noted(connection: Connection) -> list[int]:
    return [row["n"] for row in await connection.fetch("select n from public.noted order by n")]


async def backend(connection: Connection) -> int:
    return int(await connection.fetchval(f"select pid from pg_stat_activity where {OURS}"))


async def test_nothing_is_open_between_transactions(dedicated: DedicatedConnection, connection: Connection) -> None:
    """After a commit or a rollback the connection is the same, idle, and holds no lock: migrations can pass."""
    await note(dedicated, 1)
    first = await backend(connection)
    with pytest.raises(DatabaseRefused):
        await note(dedicated, 1)
    await note(dedicated, 2)

    assert [1, 2] == await noted(connection)
    assert first == await backend(connection)
    assert await connection.fetchval(f"select state from pg_stat_activity where {OURS}") == "idle"
    assert await connection.fetchval("select count(*) from pg_locks where pid = $1", first) == 0
    await connection.execute("set lock_timeout = '2s'; alter table public.noted add column more text")


async def test_what_fails_leaves_nothing(dedicated: DedicatedConnection, connection: Connection) -> None:
    """Whatever the work raises is raised, and nothing that it has written comes about."""

    async def work(statements: "Statements") -> None:
        await statements.execute("insert into public.noted (n) values ($1)", 1)
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5)
    await note(dedicated, 2)

    assert [2] == await noted(connection)


@pytest.mark.parametrize("when", ["idle", "in the middle"])
async def test_a_connection_that_was_cut(dedicated: DedicatedConnection, connection: Connection, when: str) -> None:
    """A transaction whose connection was cut before its commit comes about once, by a new connection."""
    await note(dedicated, 1)
    runs = 0

    async def work(statements: "Statements") -> None:
        nonlocal runs
        runs += 1
        await statements.execute("insert into public.noted (n) values ($1)", 2)
        if runs == 1 and when == "in the middle":
            await connection.fetchval("select pg_terminate_backend($1, 1000)", await backend(connection))
        await statements.execute("insert into public.noted (n) values ($1)", 3)

    if when == "idle":
        await connection.fetchval("select pg_terminate_backend($1, 1000)", await backend(connection))
    await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5)

    assert [1, 2, 3] == await noted(connection)


async def test_a_connection_that_is_cut_at_the_commit(dedicated: DedicatedConnection, connection: Connection) -> None:
    """Where nobody knows whether it was committed, the work is not run again: its caller is told."""
    await note(dedicated, 1)
    await connection.execute(CUT_AT_COMMIT)
    runs = 0

    async def work(statements: "Statements") -> None:
        nonlocal runs
        runs += 1
        await statements.execute("insert into public.noted (n) values ($1)", 2)

    with pytest.raises(DatabaseUnavailable):
        await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5)
    await connection.execute("drop trigger cut on public.noted")
    await note(dedicated, 3)

    assert runs == 1
    assert [1, 3] == await noted(connection)


async def test_a_new_connection_that_is_cut_at_the_commit(
    dedicated: DedicatedConnection, connection: Connection
) -> None:
    """That holds as well if the connection before it was cut while it was idle."""
    await note(dedicated, 1)
    await connection.execute(CUT_AT_COMMIT)
    await connection.fetchval("select pg_terminate_backend($1, 1000)", await backend(connection))
    await asyncio.sleep(0.1)
    runs = 0

    async def work(statements: "Statements") -> None:
        nonlocal runs
        runs += 1
        await statements.execute("insert into public.noted (n) values ($1)", 2)

    with pytest.raises(DatabaseUnavailable):
        await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5)

    assert runs == 1


async def test_one_that_takes_too_long(dedicated: DedicatedConnection, connection: Connection) -> None:
    """A statement that takes longer than it may ends the transaction, which is not run again."""
    await connection.execute(SLOW)
    runs = 0

    async def work(statements: "Statements") -> None:
        nonlocal runs
        runs += 1
        await statements.execute("insert into public.noted (n) values ($1)", 1)

    async with asyncio.timeout(4):
        with pytest.raises(HeldUp):
            await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=1)
    await connection.execute("drop trigger slow on public.noted")
    await note(dedicated, 2)

    assert runs == 1
    assert [2] == await noted(connection)


async def test_postgres_that_does_not_answer(database_url: str, connection: Connection) -> None:
    """A query that the driver gives up is not asked again: that would take as long once more."""
    slow = DedicatedConnection(database_url, purpose="test", connect_timeout_s=5, command_timeout_s=0.5)
    await slow.fetch("select 1")
    started = asyncio.get_running_loop().time()
    with pytest.raises(DatabaseUnavailable):
        await slow.fetch("select pg_sleep(5)")
    slow.close()

    assert asyncio.get_running_loop().time() - started < 0.9


async def test_closing_while_it_connects(database: Database, connection: Connection) -> None:
    """A connection that is closed while it is being made leaves none behind."""
    dedicated = database.dedicated("test")
    noting = asyncio.create_task(note(dedicated, 1))
    await asyncio.sleep(0)
    dedicated.close()
    with pytest.raises(DatabaseUnavailable):
        await noting

    assert [] == await noted(connection)


async def test_one_that_loses_is_run_again(dedicated: DedicatedConnection, connection: Connection) -> None:
    """A transaction that Postgres ends because it lost against another one is run again."""
    runs = 0

    async def work(statements: "Statements") -> None:
        nonlocal runs
        runs += 1
        await statements.execute("insert into public.noted (n) values ($1)", 1)
        if runs < 3:
            await statements.execute("do $$ begin raise sqlstate '40001'; end $$")

    await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5)

    assert runs == 3
    assert [1] == await noted(connection)


async def test_who_waits_for_a_lock(dedicated: DedicatedConnection, connection: Connection) -> None:
    """A statement waits for a lock no longer than it was allowed to."""
    async with connection.transaction():
        await connection.execute("lock table public.noted in access exclusive mode")
        async with asyncio.timeout(4):
            with pytest.raises(HeldUp):
                await note(dedicated, 1)
    await note(dedicated, 2)

    assert [2] == await noted(connection)


async def test_who_gives_up(dedicated: DedicatedConnection, connection: Connection) -> None:
    """A caller that is cancelled in the middle leaves no open transaction behind, and the next one succeeds."""
    begun = asyncio.Event()

    async def work(statements: "Statements") -> None:
        await statements.execute("insert into public.noted (n) values ($1)", 1)
        begun.set()
        await statements.execute("select pg_sleep(20)")

    calling = asyncio.create_task(dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5))
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await note(dedicated, 2)

    assert [2] == await noted(connection)


async def test_a_column_that_changes_its_type(dedicated: DedicatedConnection, connection: Connection) -> None:
    """A migration that changes what a prepared statement returns fails neither a query nor a transaction."""
    query = "select n, text from public.noted"

    async def work(statements: "Statements") -> None:
        await statements.fetch(query)

    for kind in ("varchar(10)", "text", "varchar(20)"):
        await dedicated.fetch(query)
        await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5)
        await connection.execute(f"alter table public.noted alter column text type {kind}")
        await dedicated.transaction(work, lock_timeout_s=1, statement_timeout_s=5)
        await connection.execute("alter table public.noted alter column text type bigint using null")
        await dedicated.fetch(query)


async def test_a_closed_one_stays_closed(
    dedicated: DedicatedConnection, database: Database, connection: Connection
) -> None:
    """Once the database was closed nothing connects again."""
    await note(dedicated, 1)
    await database.close()
    with pytest.raises(DatabaseUnavailable):
        await note(dedicated, 2)

    assert [1] == await noted(connection)
