"""The pool of connections, and the transactions on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import asyncpg
import structlog

from clerksync_server.database.connecting import connect_problem
from clerksync_server.database.dedicated import DedicatedConnection
from clerksync_server.database.errors import describe, translated_errors
from clerksync_server.database.retrying import repeated_if_lost
from clerksync_server.database.statements import Statements
from clerksync_server.errors import DatabaseUnavailable, Overloaded

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = Statements
    PoolConnection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]

_Result = TypeVar("_Result")
_RELEASE_TIMEOUT_S = 2.0
_log = structlog.get_logger(__name__)
CONNECT_TIMEOUT_S = 5.0
_WAITING_FOR_EACH = 64
"""Calls that may wait for each connection of the pool."""
COMMAND_TIMEOUT_S = 8.0
"""For a connection, and for each statement; below the front's deadline, which is below Svix's 15 s."""


class Database:
    """Connections to one Postgres, or to a transaction pooler in front of it.

    Nothing in the pool relies on what a session remembers, and no statement is prepared under a name there. Raises
    DatabaseUnavailable or DatabaseRefused for what Postgres and the driver raise, and Overloaded, at once, where too
    many wait for a connection of the pool.
    """

    def __init__(self, dsn: str, *, pool_size: int) -> None:
        self._dsn = dsn
        self._pool_size = pool_size
        self._pool: Pool | None = None
        self._waiting = 0
        self._dedicated: list[DedicatedConnection] = []

    def dedicated(self, purpose: str) -> DedicatedConnection:
        """A connection of its own beside the pool, closed with it."""
        connection = DedicatedConnection(
            self._dsn, purpose=purpose, connect_timeout_s=CONNECT_TIMEOUT_S, command_timeout_s=COMMAND_TIMEOUT_S
        )
        self._dedicated.append(connection)
        return connection

    async def open(self) -> None:
        """Prepares the pool. Does not connect: Postgres may come later."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self._pool_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": "clerksync"},
        )

    async def close(self) -> None:
        """Waits a moment for the connections in use, then cuts them."""
        for dedicated in self._dedicated:
            dedicated.close()
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(1.0):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def connection(self, *, however_many_wait: bool = False) -> "AsyncIterator[PoolConnection]":
        """A connection for statements that need no transaction."""
        if (pool := self._pool) is None:
            raise DatabaseUnavailable("the pool is closed")
        if self._waiting >= _WAITING_FOR_EACH * self._pool_size and not however_many_wait:
            raise Overloaded
        self._waiting += 1
        try:
            connection = await pool.acquire(timeout=COMMAND_TIMEOUT_S)
        except Exception as error:
            # Whatever it is (poolers have errors of their own), there is no connection now.
            raise DatabaseUnavailable(connect_problem(error, self._dsn)) from error
        finally:
            self._waiting -= 1
        try:
            with translated_errors():
                yield connection
        finally:
            await _release(pool, connection)

    async def transaction(
        self,
        work: "Callable[[Connection], Awaitable[_Result]]",
        *,
        isolation: Literal["read_committed", "repeatable_read"] = "read_committed",
        readonly: bool = False,
    ) -> _Result:
        """Runs `work` in a transaction, again if it loses against another one.

        READ COMMITTED is asked for by name: after waiting for a lock a statement must see what the other has committed.
        """
        async with self.connection() as connection:
            async for attempt in repeated_if_lost():
                with attempt:
                    async with connection.transaction(isolation=isolation, readonly=readonly):
                        return await work(connection)
        raise AssertionError("unreachable: the last attempt returns or raises")


async def _release(pool: "Pool", connection: "PoolConnection") -> None:
    """Gives the connection back; one that is broken is thrown away, and that is no failure of the work done."""
    try:
        await pool.release(connection, timeout=_RELEASE_TIMEOUT_S)
    except Exception as error:  # noqa: BLE001
        _log.info("a connection was thrown away", error=describe(error))
