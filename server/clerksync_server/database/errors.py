"""What the errors of Postgres and its driver mean to us.

The text of an asyncpg error may hold the values of a row, so it is never passed on: SQLSTATE and constraint name are.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from asyncpg import exceptions as pg

from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable

RETRYABLE = (pg.DeadlockDetectedError, pg.SerializationError)
"""The transaction lost against another one; the same again succeeds."""

_UNAVAILABLE: tuple[type[BaseException], ...] = (
    *RETRYABLE,
    pg.PostgresConnectionError,
    pg.InsufficientResourcesError,
    pg.OperatorInterventionError,
    pg.InvalidAuthorizationSpecificationError,
    pg.InvalidCatalogNameError,
    pg.LockNotAvailableError,
    pg.ReadOnlySQLTransactionError,
    pg.PostgresSystemError,
    # Not migrated yet: the migration is on its way, and until then the senders keep the work.
    pg.UndefinedTableError,
    pg.UndefinedColumnError,
    pg.UndefinedFunctionError,
    pg.InvalidSchemaNameError,
    pg.InsufficientPrivilegeError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)
_REFUSED = (pg.DataError, pg.IntegrityConstraintViolationError, pg.RaiseError)


def describe(error: BaseException) -> str:
    """The kind of an error, without values."""
    parts = [type(error).__name__]
    if isinstance(error, asyncpg.PostgresError):
        parts += [f"SQLSTATE {error.sqlstate}"]
        if constraint := getattr(error, "constraint_name", None):
            parts += [f"constraint {constraint}"]
        elif column := getattr(error, "column_name", None):
            parts += [f"column {column}"]
    return ", ".join(parts)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns what Postgres and its driver raise into our own errors; what is a defect of ours passes unchanged."""
    try:
        yield
    except _REFUSED as error:
        raise DatabaseRefused(describe(error)) from error
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable(describe(error)) from error
