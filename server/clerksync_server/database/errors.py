"""What the errors of Postgres and its driver mean to us.

The text of an asyncpg error may hold the values of a row, so it is never passed on: SQLSTATE and constraint name are.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from asyncpg import exceptions as pg

from clerksync_server.database.wire import tls_problem
from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable

RETRYABLE = (pg.DeadlockDetectedError, pg.SerializationError)
"""The transaction lost against another one; the same again succeeds."""

_UNAVAILABLE_CLASSES = frozenset({"08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX"})
"""Classes of SQLSTATE: the connection, the transaction's state, who we are, conflicts, resources, objects in use,
operators at work, the system, and defects of the server. Senders keep the work until such a state is over."""
_NOT_MIGRATED = (pg.UndefinedTableError, pg.UndefinedColumnError, pg.InvalidSchemaNameError)
_NOT_GRANTED = pg.InsufficientPrivilegeError


def is_told_by_a_function(told: asyncpg.PostgresError | asyncpg.PostgresLogMessage) -> bool:
    """Whether a function or trigger raised it: then any of its texts, also the name of a constraint, may be a value.

    Blocks of our migrations, and the statements that Postgres runs for a foreign key, are no such functions.
    """
    context = getattr(told, "context", None) or ""
    return bool(context) and not context.startswith(("SQL statement", "PL/pgSQL function inline_code_block"))


def describe(error: BaseException) -> str:
    """The kind of an error, without values."""
    parts = [type(error).__name__]
    if isinstance(error, asyncpg.PostgresError):
        parts += [f"SQLSTATE {error.sqlstate}"]
        if is_told_by_a_function(error):
            parts += ["raised by a function or trigger"]
        elif constraint := getattr(error, "constraint_name", None):
            parts += [f"constraint {constraint}"]
        elif column := getattr(error, "column_name", None):
            parts += [f"column {column}"]
    elif problem := tls_problem(error):
        parts += [problem]
    return ", ".join(parts)


class HeldUp(Exception):
    """A transaction of many was about to wait for others, or to work, for longer than it may. Nothing came of it."""


@contextmanager
def noticing_delays() -> Iterator[None]:
    """Raises HeldUp where a statement has waited or worked for as long as it may, or found no room for its locks."""
    try:
        yield
    except (pg.LockNotAvailableError, pg.QueryCanceledError, pg.OutOfMemoryError) as error:
        raise HeldUp from error


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns what Postgres and its driver raise into our own errors; what is a defect of ours passes unchanged."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise (DatabaseUnavailable if _is_passing(error) else DatabaseRefused)(describe(error)) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        # An InternalClientError is what a connection raises that Postgres has ended between two messages.
        raise DatabaseUnavailable(describe(error)) from error


def _is_passing(error: asyncpg.PostgresError) -> bool:
    """Whether the same statement may succeed later by itself. What a row or the application's own code refuses may not.

    Only errors of functions and triggers have a context: ours are never raised there.
    """
    if (error.sqlstate or "")[:2] in _UNAVAILABLE_CLASSES or isinstance(error, _NOT_GRANTED):
        return True
    return isinstance(error, _NOT_MIGRATED) and not getattr(error, "context", None)
