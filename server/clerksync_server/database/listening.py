"""A connection of its own that is woken by notifications about removals."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg

from clerksync_server.database.connecting import DIRECT_URL, connecting
from clerksync_server.database.connection import CONNECT_TIMEOUT_S, Database
from clerksync_server.database.session import Session
from clerksync_server.database.sql import load_queries

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_SQL = load_queries("removals.sql")
_CHANNEL = "clerksync_removals"
_COMMAND_TIMEOUT_S = 3.0
_CLOSE_TIMEOUT_S = 1.0
_PROBE = "probe "
_PROBE_TIMEOUT_S = 1.0


class Listener:
    """Waits for notifications. They only wake: any may be lost, or come for nothing."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.session = Session(connection, prepares=False)
        self._woken = asyncio.Event()
        self._probe: str | None = None
        self._heard = asyncio.Event()

    async def start(self) -> None:
        await self._connection.add_listener(_CHANNEL, self._notified)
        # Whoever waits is to find out at once.
        self._connection.add_termination_listener(lambda _: self._woken.set())

    async def wait(self, within_s: float) -> None:
        """Returns when it was notified, when the connection broke, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._woken.wait()
        self._woken.clear()

    async def hears(self, database: Database) -> bool:
        """Whether a notification arrives that is sent by way of the pool. Raises DatabaseUnavailable.

        Through a transaction pooler it does not: there LISTEN binds a connection that serves somebody else next. If it
        does, the connection is Postgres' own, and what is read again and again is prepared.
        """
        self._probe = f"{_PROBE}{secrets.token_hex(8)}"
        self._heard.clear()
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                async with database.connection(however_many_wait=True) as connection:
                    await connection.execute(_SQL["notify"], self._probe)
                await self._heard.wait()
        except TimeoutError:
            return False
        self.session.prepares = True
        return True

    def _notified(self, connection: "Connection", pid: int, channel: str, payload: object) -> None:
        if payload == self._probe:
            self._heard.set()
        elif not str(payload).startswith(_PROBE):
            self._woken.set()


@contextlib.asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[Listener]:
    """Connects and listens. Raises what the driver raises, and DatabaseUnavailable for what is wrong with the URL."""
    with connecting(dsn, DIRECT_URL):
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": "clerksync removals"},
        )
    try:
        listener = Listener(connection)
        await listener.start()
        yield listener
    finally:
        try:
            await connection.close(timeout=_CLOSE_TIMEOUT_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
