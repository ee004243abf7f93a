"""The Postgres of the measurements, its databases, and what they are filled with."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bench import ids
from bench.sql import load_queries
from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

_Q = load_queries(Path(__file__).with_name("queries.sql"))
_COPIED_AT_ONCE = 100_000
_COLUMNS = (
    "clerk_user_id",
    "clerk_org_id",
    "clerk_membership_id",
    "membership_created_at",
    "membership_updated_at",
    "membership_event_at",
    "role",
)


class Postgres:
    """An embedded Postgres with its own defaults (fsync is on), and room for all that is compared."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedPostgres(folder, settings={"max_connections": "300"})
        self.filled_s: dict[int, float] = {}
        """How long it took to fill a database with so many profiles."""

    def start(self) -> None:
        self._server.start()
        asyncio.run(migrate(self._server.dsn))

    def stop(self) -> None:
        self._server.stop()

    @property
    def pid(self) -> int:
        """Of the main process, whose children do the work."""
        pid = self._server.pid
        assert pid is not None, "Postgres has ended"
        return pid

    def database(self, name: str, profiles: int) -> str:
        """Makes a database with so many profiles, a hundred in each organization; how to connect."""
        return asyncio.run(self._database(name, profiles))

    def settings(self) -> dict[str, str]:
        return asyncio.run(self._settings())

    async def _settings(self) -> dict[str, str]:
        connection = await asyncpg.connect(self._server.dsn)
        try:
            return {row["name"]: row["value"] for row in await connection.fetch(_Q["settings"])}
        finally:
            await connection.close()

    async def _database(self, name: str, profiles: int) -> str:
        connection = await asyncpg.connect(_dsn_of(self._server.dsn, "postgres"))
        try:
            template = urlsplit(self._server.dsn).path[1:]
            await connection.execute(_Q["create_database"].format(name=name, template=template))
        finally:
            await connection.close()
        dsn = _dsn_of(self._server.dsn, name)
        began = time.monotonic()
        connection = await asyncpg.connect(dsn, command_timeout=600)
        try:
            await _fill(connection, profiles)
        finally:
            await connection.close()
        self.filled_s[profiles] = time.monotonic() - began
        return dsn


async def _fill(connection: asyncpg.Connection, profiles: int) -> None:
    joined_at = datetime.fromtimestamp(ids.JOINED_AT_MS / 1000, UTC)
    organizations = -(-profiles // ids.MEMBERS_EACH)
    await connection.execute(_Q["insert_organizations"], 0, organizations, joined_at)
    await connection.execute(_Q["leave_out_checks"])
    for first in range(0, profiles, _COPIED_AT_ONCE):
        last = min(first + _COPIED_AT_ONCE, profiles)
        await connection.copy_records_to_table(
            "user_profile", schema_name="public", records=_rows(first, last, joined_at), columns=_COLUMNS
        )
    await connection.execute(_Q["tidy"])


def _rows(first: int, last: int, joined_at: datetime) -> Iterator[tuple[object, ...]]:
    for number in range(first, last):
        user, org = ids.pair(number)
        yield user, org, ids.membership_id(number), joined_at, joined_at, joined_at, "org:member"


def _dsn_of(server_dsn: str, database: str) -> str:
    return urlsplit(server_dsn)._replace(path=f"/{database}").geturl()
