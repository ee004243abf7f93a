"""Applies the numbered SQL migrations, all that are pending in one transaction. What is in them it does not know."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import structlog

from clerksync_server.database.connecting import connecting
from clerksync_server.database.errors import describe, is_told_by_a_function
from clerksync_server.database.wire import tls_problem
from clerksync_server.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext, RevisionStep
    from sqlalchemy import Connection as SQLAlchemyConnection

    from clerksync_server.database.connection import Connection

REQUIRED_REVISION = "0008"
"""The schema this code needs. Revisions are numbered and only ever add, so any later one serves it as well."""

_VERSION_SCHEMA = "clerksync"
_VERSION_TABLE = "schema_version"
_ADVISORY_LOCK_KEY = 7_233_180_461_994_052_801
_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0

_PREPARE_TRANSACTION = """
-- Another migration may be rewriting large tables.
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
set local lock_timeout = '5min';
"""
_TAKE_TURNS = f"select pg_catalog.pg_advisory_xact_lock({_ADVISORY_LOCK_KEY});"
_PREPARE_MIGRATIONS = """
-- Whoever comes after a statement that waits for a table waits as well, readers too: rather give up.
set local lock_timeout = '5s';
-- Neither somebody's functions nor their settings decide what a migration does, and no policy hides rows from it.
set local search_path = pg_catalog, pg_temp;
set local row_security = off;
set local client_min_messages = warning;
-- A constraint that waits for the end of the transaction would stand in the way of altering its table.
set constraints all immediate;
"""

_REFUSED_BY_MIGRATION = "CS001"
"""The SQLSTATE with which our migrations refuse a database. Their texts hold no values of rows."""

_log = structlog.get_logger(__name__)


class MigrationError(Exception):
    """The database was not migrated, and nothing in it was changed. The text tells what to do, and holds no values."""


async def migrate(dsn: str) -> list[str]:
    """Brings the database to the newest revision and returns the revisions applied, in order.

    Any number of processes may do this at the same time: one does the work, the others wait and find it done. Raises
    MigrationError.
    """
    warnings: list[str] = []
    connection = await _connect(dsn)
    connection.add_log_listener(lambda _, message: warnings.append(_warning(message)))
    try:
        # READ COMMITTED, so that what is read after waiting is what the others have done.
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_PREPARE_TRANSACTION)
            await _take_turns(connection)
            await connection.execute(_PREPARE_MIGRATIONS)
            applied = await _apply_pending(connection)
    except asyncpg.PostgresError as error:
        raise MigrationError(_explain(error)) from None
    except (OSError, asyncpg.InterfaceError):
        raise MigrationError("the connection to the database was lost; run the migration again") from None
    finally:
        await _close(connection)
    for warning in warnings:
        _log.warning("migration", message=warning)
    return applied


async def current_revision(connection: "Connection") -> str | None:
    """The revision that the database is at; None if it was never migrated."""
    try:
        revision = await connection.fetchval(f"select version_num from {_VERSION_SCHEMA}.{_VERSION_TABLE}")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    return cast("str | None", revision)


def is_compatible(current: str | None) -> bool:
    """Whether this code can work with a database at this revision: the one it needs, or a newer one."""
    return _has_reached(current, REQUIRED_REVISION)


def migrations_dir() -> Path:
    """Where the migrations are: inside the package if that came from a wheel, else at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "migrations"


def _has_reached(current: str | None, revision: str) -> bool:
    return current is not None and current.isdecimal() and current >= revision


async def _connect(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        with connecting(dsn):
            return await asyncpg.connect(
                dsn,
                timeout=_CONNECT_TIMEOUT_S,
                statement_cache_size=0,
                server_settings={"application_name": "clerksync migrate"},
            )
    except DatabaseUnavailable as error:
        raise MigrationError(f"cannot connect to the database: {error.detail}") from None
    except asyncpg.PostgresError as error:
        raise MigrationError(f"cannot connect to the database: {error.message}") from None
    except TimeoutError:
        raise MigrationError(f"cannot connect to the database: no answer in {_CONNECT_TIMEOUT_S:g} s") from None
    except OSError as error:
        reason = tls_problem(error) or error.strerror or type(error).__name__
        raise MigrationError(f"cannot connect to the database: {reason}") from None


async def _close(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        await connection.close(timeout=_CLOSE_TIMEOUT_S)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


async def _take_turns(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Waits for other migrations of this database. The lock ends with the transaction, so it works through a pooler."""
    try:
        await connection.execute(_TAKE_TURNS)
    except asyncpg.LockNotAvailableError:
        raise MigrationError(
            "another migration of this database has not ended for 5 minutes; look for the application name "
            "'clerksync migrate' in pg_stat_activity, and run the migration again when it is gone"
        ) from None


async def _apply_pending(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    version_table = await connection.fetchval("select to_regclass($1)::oid", f"{_VERSION_SCHEMA}.{_VERSION_TABLE}")
    current = await current_revision(connection) if version_table is not None else None
    newest = max(path.name for path in (migrations_dir() / "sql").glob("*.sql")).partition("_")[0]
    if _has_reached(current, newest):
        # By a newer program perhaps, whose revisions are unknown here.
        return []
    if await connection.fetchval("select to_regnamespace($1)::oid", _VERSION_SCHEMA) is None:
        await connection.execute(f"create schema {_VERSION_SCHEMA}")
    return await _run_alembic(connection)


async def _run_alembic(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """Lends the connection, in its open transaction, to Alembic.

    Not by way of an env.py: that one reaches its context through globals of the process, and two databases could not be
    migrated at the same time.
    """
    # Costly to import, and the service, which only asks for the revision, never needs them.
    from alembic.script.revision import RevisionError  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415

    async def lend(*_: Any, **__: Any) -> "asyncpg.Connection[asyncpg.Record]":
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=StaticPool,
        connect_args={
            "async_creator_fn": lend,
            # A pooler would hand prepared statements with names on to others.
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
        },
    )
    try:
        async with engine.connect() as borrower, borrower.begin():
            return await borrower.run_sync(_upgrade)
    except DBAPIError as error:
        cause = error.orig.__cause__ if error.orig is not None else None
        raise (cause if isinstance(cause, asyncpg.PostgresError) else error) from None
    except RevisionError:
        raise MigrationError(
            f"{_VERSION_SCHEMA}.{_VERSION_TABLE} holds a revision that this version of clerksync does not know"
        ) from None
    finally:
        await engine.dispose(close=False)


def _upgrade(connection: "SQLAlchemyConnection") -> list[str]:
    from alembic.runtime.migration import MigrationContext, MigrationStep  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    directory = migrations_dir()
    scripts = ScriptDirectory(str(directory))
    applied: list[str] = []

    def pending(heads: tuple[str, ...], _: "MigrationContext") -> "Iterable[RevisionStep]":
        newest_first = list(scripts.iterate_revisions("head", heads, implicit_base=True))
        return [MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in reversed(newest_first)]

    def run_sql_file(name: str) -> None:
        sql = (directory / "sql" / name).read_text(encoding="utf-8")
        # Several statements in one text: only the simple protocol takes them.
        execute: Callable[[asyncpg.Connection[asyncpg.Record]], Any] = lambda raw: raw.execute(sql)  # noqa: E731
        try:
            cast("Any", connection.connection.dbapi_connection).run_async(execute)
        except asyncpg.PostgresError as error:
            raise MigrationError(f"{name}: {_explain(error)}") from None
        applied.append(name.partition("_")[0])

    context = MigrationContext.configure(
        connection=connection,
        opts={"fn": pending, "version_table": _VERSION_TABLE, "version_table_schema": _VERSION_SCHEMA},
    )
    context.run_migrations(run_sql_file=run_sql_file)
    return applied


def _warning(message: asyncpg.PostgresLogMessage) -> str:
    if is_told_by_a_function(message):
        return "a function or trigger of the application's warned of something; Postgres' log tells more"
    return str(message.message)


def _explain(error: asyncpg.PostgresError) -> str:
    """What went wrong and what to do. Messages of errors about values hold those values, and details may: left out."""
    hint = f"\n{error.hint}" if error.hint else ""
    if error.sqlstate == _REFUSED_BY_MIGRATION and not is_told_by_a_function(error):
        return f"{error.message}{hint}"
    if isinstance(error, asyncpg.LockNotAvailableError):
        return (
            "another session holds a lock on a table that has to be changed, and has not let go for 5 seconds; run the "
            "migration again when the database is less busy. select pid, state, query from pg_stat_activity tells who "
            "is at work"
        )
    if isinstance(error, asyncpg.TransactionRollbackError | asyncpg.OperatorInterventionError):
        return f"the database broke the migration off ({describe(error)}); run it again"
    if is_told_by_a_function(error) or isinstance(
        error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError | asyncpg.RaiseError
    ):
        return (
            f"the database refused a change of its rows ({describe(error)}); a trigger or constraint may be in the way"
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"{error.message}{hint}\nRun the migration as the owner of the database and of the tables"
    return f"{error.message} (SQLSTATE {error.sqlstate}){hint}"
