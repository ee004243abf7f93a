"""The server of pygrpc-native, but for how it waits for slow readers. Needs the extra `native`."""

import asyncio
from typing import Any

import pygrpc_native.aio
from pygrpc_native import STREAM_CLOSED, STREAM_FULL

_FIRST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.25


class NativeServer(pygrpc_native.aio.Server):
    """Waits for slow readers without threads.

    The original has a thread of the loop's executor wait for each, and there are few: with as many watchers that do
    not read, no host name is looked up any more (so Postgres is not found again), and stop() never returns.
    `_send` is not public, so pyproject.toml pins the minor version, and tests/grpc_api/test_transports.py watches.
    """

    async def _send(self, call: Any, context: Any, response: Any) -> bool:
        assert self._front is not None
        data = self._encode(call, context, response)
        if data is None:
            return False
        context._initial_sent = True  # noqa: SLF001
        wait_s = _FIRST_WAIT_S
        while (sent := self._front.stream_try_send(call.call_id, data)) == STREAM_FULL:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        return sent != STREAM_CLOSED
