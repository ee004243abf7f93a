"""A connection for one purpose that prepares its statements once: each is one round trip, and nothing is reset."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg
import structlog
from asyncpg import exceptions as pg

from clerksync_server.database.connecting import connecting
from clerksync_server.database.errors import describe, noticing_delays, translated_errors
from clerksync_server.database.retrying import repeated_if_lost
from clerksync_server.database.session import Session
from clerksync_server.database.statements import Statements
from clerksync_server.errors import DatabaseUnavailable

_Result = TypeVar("_Result")
_log = structlog.get_logger(__name__)
_NOT_PREPARED = (pg.InvalidSQLStatementNameError, pg.DuplicatePreparedStatementError)
"""What is said behind a transaction pooler: the statement was prepared on another of its connections."""
_CUT = (
    pg.OperatorInterventionError,
    pg.InvalidCachedStatementError,  # a column has changed its type: a new connection prepares anew
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    OSError,
)
_TOO_SLOW = (TimeoutError, pg.QueryCanceledError)
"""Among those above, as kinds of OSError and OperatorInterventionError; but the same again would take as long again."""
_BEGIN = "begin isolation level read committed"
_PLAN = "; ".join(
    f"set local {setting}"
    for setting in (
        "plan_cache_mode = force_generic_plan",
        "enable_seqscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
    )
)
"""Left to itself Postgres plans anew for each short array, which takes as long as inserting a profile, or keeps a plan
that reads whole tables, made while they were empty. What we look for, we look for by index, one after the other."""


class DedicatedConnection:
    """Connects when it is first used, and again when it was cut. For one caller at a time.

    Between two uses no transaction is open: preparing a statement begins one, and it is prepared right before it is
    run for the first time, which ends it. Raises DatabaseUnavailable or DatabaseRefused.
    """

    def __init__(self, dsn: str, *, purpose: str, connect_timeout_s: float, command_timeout_s: float) -> None:
        self._dsn = dsn
        self._purpose = purpose
        self._connect_timeout_s = connect_timeout_s
        self._command_timeout_s = command_timeout_s
        self._session: Session | None = None
        self._prepares = True
        self._is_closed = False

    async def fetch(self, query: str, *args: object) -> "Sequence[asyncpg.Record]":
        """Runs a query that only reads: it may be run twice."""

        async def read(session: Session) -> "Sequence[asyncpg.Record]":
            try:
                return await session.fetch(query, *args)
            except BaseException:
                # Nobody knows what it is in the middle of; at worst in a transaction that nothing would end.
                self._cut()
                raise

        with translated_errors():
            return await self._twice_if_cut(read)

    async def transaction(
        self, work: "Callable[[Statements], Awaitable[_Result]]", *, lock_timeout_s: int, statement_timeout_s: int
    ) -> _Result:
        """Runs `work` in a transaction at READ COMMITTED, again if it loses against another or is cut before its end.

        Raises HeldUp where a statement waits for a lock for `lock_timeout_s`, or takes `statement_timeout_s` in all.
        """
        begin = (
            f"{_BEGIN}; set local lock_timeout = '{lock_timeout_s}s'; "
            f"set local statement_timeout = '{statement_timeout_s}s'; {_PLAN}"
        )

        async def run(session: Session) -> _Result:
            return await self._transaction(session, begin, work)

        with translated_errors(), noticing_delays():
            async for attempt in repeated_if_lost():
                with attempt:
                    return await self._twice_if_cut(run)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def close(self) -> None:
        """For good. What it has not committed does not come about."""
        self._is_closed = True
        self._cut()

    def _cut(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection.terminate()

    async def _transaction(
        self, session: "Session", begin: str, work: "Callable[[Statements], Awaitable[_Result]]"
    ) -> _Result:
        try:
            await session.connection.execute(begin)
            result = await work(session)
        except Exception as error:
            if isinstance(error, asyncpg.PostgresError) or not isinstance(error, (*_CUT, TimeoutError)):
                await self._roll_back(session)
            else:
                self._cut()
            raise
        except BaseException:
            self._cut()
            raise
        session.committing = True
        try:
            await session.connection.execute("commit")
        except BaseException:
            self._cut()
            raise
        session.committing = False
        return result

    async def _roll_back(self, session: "Session") -> None:
        """So that the connection can go on; the caller is told why it came to that, and not what happens here."""
        try:
            await session.connection.execute("rollback")
        except Exception:  # noqa: BLE001
            self._cut()

    async def _twice_if_cut(self, work: "Callable[[Session], Awaitable[_Result]]") -> _Result:
        """Again by a new connection where the old one was cut; not where it may have been cut after a commit."""
        before = self._session
        session = await self._connected()
        try:
            return await work(session)
        except _NOT_PREPARED:
            _log.info("statements are not prepared: a transaction pooler stands in front", purpose=self._purpose)
            self._prepares = False
        except _CUT as error:
            if session is not before or session.committing or isinstance(error, _TOO_SLOW):
                raise
            _log.info("a connection was thrown away", error=describe(error))
        self._cut()
        return await work(await self._connected())

    async def _connected(self) -> "Session":
        if self._is_closed:
            raise DatabaseUnavailable("the connection is closed")
        if self._session is None or self._session.connection.is_closed():
            with connecting(self._dsn):
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=self._connect_timeout_s,
                    command_timeout=self._command_timeout_s,
                    statement_cache_size=0,
                    server_settings={"application_name": f"clerksync {self._purpose}"},
                )
            self._session = Session(connection, prepares=self._prepares)
            if self._is_closed:  # While it connected.
                self._cut()
                raise DatabaseUnavailable("the connection is closed")
        return self._session
