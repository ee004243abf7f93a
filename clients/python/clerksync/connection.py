"""A channel that is replaced when the credentials it was made with are renewed."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import grpc.aio

from clerksync.credentials import CHECKED_EVERY_S, Credentials
from clerksync.v1 import sync_service_pb2_grpc

if TYPE_CHECKING:
    from clerksync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub


class Connection:
    """The present channel of one event loop. Calls in flight finish on the channel they were begun on."""

    def __init__(
        self, credentials: Credentials, make: Callable[[], grpc.aio.Channel], *, longest_call_s: float
    ) -> None:
        """`make` makes a channel with the credentials as they are then; a replaced one is closed after the time."""
        self._credentials = credentials
        self._make = make
        self._longest_call_s = longest_call_s
        self._generation = credentials.generation
        self._closing: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        self.channel = self._make()
        # Generated code types the stub as if every channel were a blocking one.
        self.stub = cast("SyncServiceAsyncStub", sync_service_pb2_grpc.SyncServiceStub(self.channel))

    def authorization(self) -> tuple[tuple[str, str], ...]:
        """The metadata that a call carries to prove who makes it."""
        return self._credentials.authorization()

    async def renew(self) -> None:
        """Looks after the files until it is cancelled; returns at once where there are none."""
        while self._credentials.renewable:
            await asyncio.sleep(CHECKED_EVERY_S)
            self._credentials.refresh()
            # Another event loop's may have noticed first.
            if self._generation != self._credentials.generation:
                self._generation = self._credentials.generation
                self._replace()

    def _replace(self) -> None:
        old = self.channel
        self._open()
        closing = asyncio.get_running_loop().create_task(self._close_later(old), name="clerksync replaced channel")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close_later(self, channel: grpc.aio.Channel) -> None:
        try:
            await asyncio.sleep(self._longest_call_s)
        finally:
            await channel.close()

    async def close(self) -> None:
        """Ends the calls in flight, too."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self.channel.close()
