"""Listens to the stream of removals and keeps the cache true to it."""

import asyncio
import logging
import random

import grpc.aio

from clerksync.breaker import CircuitBreaker
from clerksync.cache import SILENCE_S, Cache
from clerksync.connection import Connection
from clerksync.stats import ClientStats
from clerksync.v1 import sync_service_pb2

_log = logging.getLogger("clerksync")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_PAUSE_IF_UNKNOWN_S = 60.0
"""SyncService is older than this client and has no such method: ask again rarely."""


class RemovalWatch:
    """Keeps a stream open to one of the replicas, and resumes at another when it ends or falls silent."""

    def __init__(self, connection: Connection, cache: Cache, stats: ClientStats, breaker: CircuitBreaker) -> None:
        self._connection = connection
        self._cache = cache
        self._stats = stats
        self._breaker = breaker
        self._position = ""
        self._pause_s = _FIRST_PAUSE_S
        self.in_step = asyncio.Event()
        """Set once the stream has spoken for the first time."""

    async def run(self) -> None:
        """Watches until it is cancelled."""
        while True:
            pause_s = self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            try:
                await self._watch()
            except TimeoutError:
                pause_s = 0.0  # It has waited long enough.
            except asyncio.CancelledError:
                if _is_ending():
                    raise
                pause_s = 0.0  # The stream alone: its channel was replaced by one with renewed credentials.
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    pause_s = _PAUSE_IF_UNKNOWN_S
            except Exception as error:  # noqa: BLE001  (whatever it is, asking must go on)
                _log.error("the stream of removals broke: %s", type(error).__name__)
            self._stats.breaks += 1
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  (spreads clients, keeps no secret)

    async def _watch(self) -> None:
        request = sync_service_pb2.WatchRemovalsRequest(position=self._position)
        call = self._connection.stub.WatchRemovals(request, metadata=self._connection.authorization())
        begun = False
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    response = await call.read()
                if not isinstance(response, sync_service_pb2.WatchRemovalsResponse):
                    return  # The end of the stream.
                self._take(response)
                if not begun:
                    begun = True
                    self._breaker.end_pause()
        finally:
            call.cancel()

    def _take(self, response: sync_service_pb2.WatchRemovalsResponse) -> None:
        if response.reset:
            self._stats.resets += 1
            self._cache.drop_all()
        if response.removals:
            self._stats.removals += len(response.removals)
            self._cache.drop((removal.clerk_user_id, removal.clerk_org_id) for removal in response.removals)
        self._position = response.position
        self._cache.heard()
        self.in_step.set()
        self._pause_s = _FIRST_PAUSE_S


def _is_ending() -> bool:
    """Whether this task was cancelled itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
