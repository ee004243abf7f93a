"""Watches whether Postgres answers, can be written to, and has the schema that this program needs."""

import asyncio
from collections.abc import Callable

import structlog

from clerksync_server.database.connection import Database
from clerksync_server.database.deliveries import count_quarantined
from clerksync_server.database.errors import describe
from clerksync_server.database.migrate import REQUIRED_REVISION, current_revision, is_compatible
from clerksync_server.database.sql import load_queries
from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable
from clerksync_server.ops import metrics
from clerksync_server.ops.lifecycle import Lifecycle

_SQL = load_queries("health.sql")
_PART = "database"
_INTERVAL_S = 2.0
_CHECK_TIMEOUT_S = 3.0
_log = structlog.get_logger(__name__)


class DatabaseMonitor:
    """Keeps `lifecycle` and the metrics up to date while `run` runs."""

    def __init__(self, database: Database, lifecycle: Lifecycle, on_change: Callable[[], None]) -> None:
        self._database = database
        self._lifecycle = lifecycle
        self._on_change = on_change
        self._revision: str | None = None
        lifecycle.report(_PART, "has not been looked at yet")
        metrics.export_database_gauges()

    async def run(self) -> None:
        """Checks every 2 s until it is cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(_INTERVAL_S)

    async def check(self) -> None:
        """Checks once, and tells whoever is concerned if the state has changed."""
        problem = await self._problem()
        metrics.DATABASE_UP.set(0 if problem else 1)
        if self._lifecycle.report(_PART, problem):
            if problem:
                _log.warning("the database is not ready", problem=problem)
            else:
                _log.info("the database is ready", schema=self._revision)
            self._on_change()

    async def _problem(self) -> str | None:
        try:
            # A crowd is no outage: whether Postgres answers is to be seen all the same.
            async with (
                asyncio.timeout(_CHECK_TIMEOUT_S),
                self._database.connection(however_many_wait=True) as connection,
            ):
                self._revision = revision = await current_revision(connection)
                if not is_compatible(revision):
                    state = "was never migrated" if revision is None else f"is at revision {revision}"
                    return f"its schema {state}, {REQUIRED_REVISION} is needed: run `clerksync migrate`"
                if await connection.fetchval(_SQL["is_read_only"]):
                    return "it accepts no writes"
                metrics.QUARANTINED.set(await count_quarantined(connection))
        except TimeoutError:
            return f"it does not answer within {_CHECK_TIMEOUT_S:g} s"
        except (DatabaseUnavailable, DatabaseRefused) as error:
            return error.detail
        except Exception as error:  # noqa: BLE001  (the watch must go on, whatever it meets)
            return describe(error)
        return None
