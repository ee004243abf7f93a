"""A connection for one purpose that prepares its statements once: a query is one round trip, and nothing is reset."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg
import structlog
from asyncpg import exceptions as pg

from clerksync_server.database.errors import describe, translated_errors

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

_log = structlog.get_logger(__name__)
_NOT_PREPARED = (pg.InvalidSQLStatementNameError, pg.DuplicatePreparedStatementError)
"""What is said behind a transaction pooler: the statement was prepared on another of its connections."""
_CUT = (
    pg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    OSError,
)


class DedicatedConnection:
    """Reads. Connects when it is first used, and again when it was cut. For one caller at a time.

    Between two queries no transaction is open: preparing a statement begins one, and it is prepared right before it is
    run for the first time, which ends it. Raises DatabaseUnavailable or DatabaseRefused.
    """

    def __init__(self, dsn: str, *, purpose: str, connect_timeout_s: float, command_timeout_s: float) -> None:
        self._dsn = dsn
        self._purpose = purpose
        self._connect_timeout_s = connect_timeout_s
        self._command_timeout_s = command_timeout_s
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._statements: dict[str, PreparedStatement[asyncpg.Record]] = {}
        self._prepares = True

    async def fetch(self, query: str, *arguments: object) -> "Sequence[asyncpg.Record]":
        """Runs a query that only reads: it may be run twice."""
        with translated_errors():
            had_one = self._connection is not None
            try:
                return await self._fetch(query, arguments)
            except _NOT_PREPARED:
                _log.info("statements are not prepared: a transaction pooler stands in front", purpose=self._purpose)
                self._prepares = False
            except _CUT as error:
                if not had_one:
                    raise
                _log.info("a connection was thrown away", error=describe(error))
            self.close()
            return await self._fetch(query, arguments)

    def close(self) -> None:
        """Cuts it; nothing that it has begun matters."""
        connection, self._connection = self._connection, None
        self._statements = {}
        if connection is not None:
            connection.terminate()

    async def _fetch(self, query: str, arguments: Sequence[object]) -> "Sequence[asyncpg.Record]":
        connection = self._connection
        if connection is None or connection.is_closed():
            self._statements = {}
            connection = self._connection = await asyncpg.connect(
                self._dsn,
                timeout=self._connect_timeout_s,
                command_timeout=self._command_timeout_s,
                statement_cache_size=0,
                server_settings={"application_name": f"clerksync {self._purpose}"},
            )
        try:
            if not self._prepares:
                return await connection.fetch(query, *arguments)
            statement = self._statements.get(query)
            if statement is None:
                statement = self._statements[query] = await connection.prepare(query)
            return await statement.fetch(*arguments)
        except BaseException:
            # Nobody knows what it is in the middle of; at worst in a transaction that nothing would end.
            self.close()
            raise
