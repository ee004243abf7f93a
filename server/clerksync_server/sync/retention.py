"""Forgets deliveries, tombstones and told removals that are older than anything that could still arrive."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from clerksync_server.clock import utc_now
from clerksync_server.database.connection import Database
from clerksync_server.database.sql import load_queries

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_SQL = load_queries("retention.sql")
_BATCH = 1000
_PAUSE_S = 0.05
"""Between batches, so that the work of others comes first."""
_INTERVAL_S = 3600.0
_REMOVALS_KEPT = timedelta(hours=1)
"""In their log. Positions in it are taken for 15 minutes."""
_TOMBSTONE_MARGIN = timedelta(days=1)
"""Evidence as old as the retention is refused already while the tombstones against it are still there."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were forgotten."""

    deliveries: int
    tombstones: int
    removals: int


class Retention:
    """Prunes the ledger, the tombstones and the log of removals.

    Deleted users and organizations are remembered for ever: that is final.
    """

    def __init__(
        self,
        database: Database,
        *,
        deliveries_kept: timedelta,
        tombstones_kept: timedelta,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._deliveries_kept = deliveries_kept
        self._tombstones_kept = tombstones_kept + _TOMBSTONE_MARGIN
        self._now = now

    async def prune(self) -> Pruned:
        """Prunes all that is due, a batch a transaction; nothing if another process is pruning now."""
        return Pruned(
            deliveries=await self._prune("prune_deliveries", self._deliveries_kept),
            tombstones=await self._prune("prune_tombstones", self._tombstones_kept),
            removals=await self._prune("prune_removals", _REMOVALS_KEPT),
        )

    async def run(self) -> None:
        """Prunes every hour until it is cancelled."""
        while True:
            # Replicas that were started together take turns.
            await asyncio.sleep(_INTERVAL_S * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                pruned = await self.prune()
            except Exception as error:  # noqa: BLE001  (the next attempt may do better, whatever it was)
                _log.warning("pruning failed; the next attempt is within 90 minutes", error=type(error).__name__)
            else:
                _log.info(
                    "pruned",
                    deliveries=pruned.deliveries,
                    tombstones=pruned.tombstones,
                    removals=pruned.removals,
                )

    async def _prune(self, query: str, kept: timedelta) -> int:
        async def work(connection: "Connection") -> int:
            if not await connection.fetchval(_SQL["try_lock"]):
                return 0
            tag = await connection.execute(_SQL[query], self._now(), kept, _BATCH)
            return int(tag.rpartition(" ")[2])

        total = 0
        while count := await self._database.transaction(work):
            total += count
            if count < _BATCH:
                break
            await asyncio.sleep(_PAUSE_S)
        return total
