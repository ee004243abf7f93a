"""Tells who watches which profiles and organizations went away, on whichever replica."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from clerksync_server.database.connection import Database
from clerksync_server.database.errors import describe
from clerksync_server.database.listening import Listener, listening
from clerksync_server.database.removals import Position, Removal, read_removals
from clerksync_server.errors import DatabaseRefused, DatabaseUnavailable
from clerksync_server.ops import metrics

_INTERVAL_S = 1.5
"""Between two looks at the log without a notification; watchers are promised a word every 2 s."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
"""Between two attempts to connect."""
_BACKLOG = 1000
"""Updates that wait for one watcher; whoever is slower than that has to start anew."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """What was removed between two positions. With `reset`, something may have been missed. One for all watchers."""

    since: str
    position: str
    removals: tuple[Removal, ...] = ()
    reset: bool = False


class Subscription:
    """What a watcher has not been told yet."""

    def __init__(self) -> None:
        self._waiting: deque[Update] = deque()
        self._some = asyncio.Event()

    def put(self, update: Update) -> None:
        if self._waiting and not self._waiting[-1].removals and not self._waiting[-1].reset:
            # The later checkpoint says it all.
            self._waiting.pop()
        if len(self._waiting) >= _BACKLOG:
            self._waiting.clear()
            update = Update(update.position, update.position, reset=True)
        self._waiting.append(update)
        self._some.set()

    async def get(self) -> Update:
        await self._some.wait()
        update = self._waiting.popleft()
        if not self._waiting:
            self._some.clear()
        return update


class RemovalFeed:
    """Follows the log of removals by one connection of its own, and tells all who watch."""

    def __init__(self, database: Database, dsn: str) -> None:
        """`dsn` is Postgres itself; through a transaction pooler there are no notifications, and it polls."""
        self._database = database
        self._dsn = dsn
        self._position: Position | None = None
        self._subscriptions: set[Subscription] = set()
        self._up = asyncio.Event()
        self._problem: str | None = None
        self._told_of_polling = False

    async def run(self) -> None:
        """Follows the log until it is cancelled, whatever happens to Postgres."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with listening(self._dsn) as listener:
                    await self._follow(listener)
            except Exception as error:  # noqa: BLE001  (the feed must go on, whatever it meets)
                pause_s = _FIRST_PAUSE_S if self._up.is_set() else min(pause_s * 2, _LONGEST_PAUSE_S)
                self._report(error)
            finally:
                self._up.clear()
                metrics.REMOVAL_FEED_UP.set(0)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311

    async def watch(self, position: str) -> AsyncGenerator[Update, None]:
        """What is removed from a position on, without end. Raises DatabaseUnavailable."""
        with self._subscribed() as subscription:
            # Silence tells a watcher that nothing is known here; another replica may know more.
            await self._up.wait()
            yield await self._first(position)
            while True:
                yield await subscription.get()

    async def _first(self, text: str) -> Update:
        """What a watcher missed until now. It has subscribed before, so between this and what follows is no gap."""
        if (since := Position.parse(text)) is not None:
            async with self._database.connection() as connection:
                reading = await read_removals(connection, since)
            if reading.is_known:
                return Update(str(since), str(reading.position), reading.removals)
        here = str(self._position)
        return Update(here, here, reset=True)

    async def _follow(self, listener: Listener) -> None:
        await self._read(listener)
        self._up.set()
        self._problem = None
        metrics.REMOVAL_FEED_UP.set(1)
        _log.info("removals are followed")
        await self._check_notifications(listener)
        while True:
            await self._read(listener)
            await listener.wait(_INTERVAL_S)

    async def _read(self, listener: Listener) -> None:
        before = self._position
        reading = await read_removals(listener.session, before)
        self._position = reading.position
        if reset := before is not None and not reading.is_known:
            _log.warning("removals may have been missed: every watcher starts anew")
        here = str(reading.position)
        since = here if before is None or reset else str(before)
        metrics.REMOVALS.inc(len(reading.removals))
        update = Update(since, here, reading.removals, reset)
        for subscription in self._subscriptions:
            subscription.put(update)

    async def _check_notifications(self, listener: Listener) -> None:
        try:
            hears = await listener.hears(self._database)
        except (DatabaseUnavailable, DatabaseRefused):
            return
        if not hears and not self._told_of_polling:
            self._told_of_polling = True
            _log.warning(
                "notifications do not arrive: removals are told with a delay of up to 2 s",
                hint="set CLERKSYNC_DATABASE_DIRECT_URL to reach Postgres without a transaction pooler",
            )

    def _report(self, error: Exception) -> None:
        problem = error.detail if isinstance(error, DatabaseUnavailable | DatabaseRefused) else describe(error)
        if problem != self._problem:
            _log.warning("removals are not followed", problem=problem)
        self._problem = problem

    @contextmanager
    def _subscribed(self) -> Iterator[Subscription]:
        subscription = Subscription()
        self._subscriptions.add(subscription)
        metrics.REMOVAL_WATCHERS.inc()
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            metrics.REMOVAL_WATCHERS.dec()
