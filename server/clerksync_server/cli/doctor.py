"""`clerksync doctor`: runs the validation queries."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clerksync_server.cli.failure import CommandFailed
from clerksync_server.database.connection import Database
from clerksync_server.database.errors import translated_errors
from clerksync_server.database.listening import listening
from clerksync_server.database.migrate import REQUIRED_REVISION, current_revision, is_compatible
from clerksync_server.database.sql import load_queries
from clerksync_server.database.wire import tell_of_plaintext
from clerksync_server.dev.database import running_dev_dsn
from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable
from clerksync_server.ops.logs import configure_logs
from clerksync_server.settings import load_settings

_SQL = load_queries("doctor.sql")


@dataclass(frozen=True, slots=True)
class Check:
    """A validation query. `broken`: the rows contradict the rules; otherwise they only ask for a look."""

    query: str
    broken: bool
    advice: str


@dataclass(frozen=True, slots=True)
class _Findings:
    """What was found. The texts are empty where nothing is wrong."""

    counts: dict[str, int]
    """The number of rows of each check."""
    needless_privileges: str
    too_mighty: bool
    """Whether they are more than those of everybody, and the role is neither owner nor superuser, as in a trial."""
    deaf: str
    """What is wrong with notifications."""


_RESTORE = "let the owner of the tables run policies.sql, see docs/security/database.md"
CHECKS = (
    Check("duplicate_profiles", True, "a unique constraint is missing: run `clerksync migrate`"),
    Check("duplicate_organizations", True, "a unique constraint is missing: run `clerksync migrate`"),
    Check("orphaned_profiles", True, "the foreign key is missing: run `clerksync migrate`"),
    Check("profiles_of_deleted", True, "something other than clerksync writes to the tables"),
    Check("organizations_of_deleted", True, "something other than clerksync writes to the tables"),
    Check("profiles_of_removed", True, "something other than clerksync writes to the tables"),
    Check("tables_without_row_security", True, f"readers see every organization: {_RESTORE}"),
    Check("reader_policies_missing", True, f"a member of clerksync_reader may have dropped them: {_RESTORE}"),
    Check("rights_of_everybody", True, "everybody, or every reader, may do more than it needs: run roles.sql again"),
    Check("quarantined_deliveries", False, "see `clerksync deliveries list --outcome quarantined`"),
    Check("old_provisional_profiles", False, "their membership events have not come: are all events subscribed?"),
    Check(
        "old_placeholder_organizations", False, "their organization events have not come: are all events subscribed?"
    ),
    Check("profiles_without_ids", False, "left from before the adoption: no reader sees them"),
)

_TOO_MIGHTY = "run SyncService as a member of clerksync_service, see docs/security.md; the role"
_DEAF = "they do not arrive, so removals are told up to 2 s late: set CLERKSYNC_DATABASE_DIRECT_URL"


def doctor(
    sql: Annotated[bool, typer.Option("--sql", help="Print the queries instead, to run them with psql.")] = False,
) -> None:
    """Look for rows and rights that should not be there. Exits with 1 if any contradict the rules.

    Reads the database of DATABASE_URL, or the one that `clerksync dev` runs in this folder.
    """
    if sql:
        for check in CHECKS:
            typer.echo(f"-- {check.query}\n{_SQL[check.query]}\n")
        return
    settings = load_settings()
    dsn = settings.database_url.get_secret_value() if settings.database_url else running_dev_dsn(settings.data_dir)
    if dsn is None:
        raise CommandFailed("DATABASE_URL is not set, and no `clerksync dev` runs in this folder")
    direct_dsn = settings.direct_dsn if settings.database_url and settings.direct_dsn else dsn
    configure_logs(settings)
    tell_of_plaintext(settings.database_urls)
    found = asyncio.run(_examine(dsn, direct_dsn))
    table = Table(box=None)
    for column in ("check", "rows", "verdict"):
        table.add_column(column)
    for check in CHECKS:
        count = found.counts[check.query]
        verdict = f"{'BROKEN' if check.broken else 'look'}: {check.advice}" if count else "ok"
        table.add_row(check.query.replace("_", " "), str(count), verdict)
    table.add_row("notifications of removals", "-", f"look: {found.deaf}" if found.deaf else "ok")
    if settings.database_url is not None:  # The one of `clerksync dev` has no other role than its owner.
        needless, verdict = found.needless_privileges, "BROKEN" if found.too_mighty else "look"
        table.add_row("role of DATABASE_URL", "-", f"{verdict}: {_TOO_MIGHTY} {needless}" if needless else "ok")
    Console(highlight=False, markup=False).print(table)
    is_broken = any(found.counts[check.query] for check in CHECKS if check.broken)
    if is_broken or (found.too_mighty and settings.database_url is not None):
        raise typer.Exit(1)


async def _examine(dsn: str, direct_dsn: str) -> _Findings:
    """Raises CommandFailed where the checks cannot be made."""
    database = Database(dsn, pool_size=1)
    await database.open()
    try:
        async with database.connection() as connection:
            privileges = await connection.fetchrow(_SQL["privileges"])
            assert privileges is not None
            if missing := privileges["missing"]:
                raise CommandFailed(
                    f"the role of DATABASE_URL lacks what SyncService needs: {missing}. Run `clerksync migrate` as the "
                    "owner of the tables, then roles.sql as an administrator: it makes the role a member of "
                    "clerksync_service and puts back what is missing, see docs/security/database.md"
                )
            revision = await current_revision(connection)
            if not is_compatible(revision):
                raise CommandFailed(
                    f"the schema is at {revision}, {REQUIRED_REVISION} is needed: run `clerksync migrate`"
                )
            counts = {check.query: int(await connection.fetchval(_SQL[check.query])) for check in CHECKS}
        needless = privileges["needless"] or ""
        too_mighty = bool(needless) and not privileges["is_trial"] and not privileges["is_common"]
        return _Findings(counts, needless, too_mighty, await _notifications(database, direct_dsn))
    finally:
        await database.close()


async def _notifications(database: Database, direct_dsn: str) -> str:
    """What is wrong with notifications; nothing, if they arrive."""
    try:
        with translated_errors():
            async with listening(direct_dsn) as listener:
                return "" if await listener.hears(database) else _DEAF
    except (DatabaseUnavailable, DatabaseRefused) as error:
        return f"Postgres cannot be listened to ({error.detail}): is CLERKSYNC_DATABASE_DIRECT_URL right?"
