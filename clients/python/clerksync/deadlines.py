"""When those who wait for answers give up.

A timer for each of them would cost as much as the rest of asking. Those who wait equally long give up in the order in
which they came, so one timer for each length is enough: it is set for the first, and then for the first of those left.
"""

import asyncio
from typing import TypeAlias

from clerksync.cache import Answer
from clerksync.errors import ClerksyncError

Waiter: TypeAlias = "asyncio.Future[Answer | ClerksyncError | None]"
"""Gets the outcome; None if it did not come in time. An error is a value, so that none is lost noisily."""


class Deadlines:
    """Lives in one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queues: dict[float, Queue] = {}

    def add(self, waiter: Waiter, timeout_s: float) -> "Queue":
        """The waiter gives up after that many seconds, unless it leaves the queue before."""
        queue = self._queues.get(timeout_s)
        if queue is None:
            queue = self._queues[timeout_s] = Queue(self._loop, self._queues, timeout_s)
        queue.add(waiter)
        return queue


class Queue:
    """Those who wait equally long, the first to give up first. Forgotten when it is empty."""

    __slots__ = ("_deadlines", "_loop", "_queues", "_timeout_s", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, queues: "dict[float, Queue]", timeout_s: float) -> None:
        self._loop = loop
        self._queues = queues
        self._timeout_s = timeout_s
        self._deadlines: dict[Waiter, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiter: Waiter) -> None:
        deadline = self._deadlines[waiter] = self._loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._give_up)

    def leave(self, waiter: Waiter) -> None:
        """The waiter waits no longer, whatever the reason. To be called once."""
        del self._deadlines[waiter]
        if not self._deadlines:
            if self._timer is not None:
                self._timer.cancel()
            del self._queues[self._timeout_s]

    def _give_up(self) -> None:
        self._timer = None
        now = self._loop.time()
        for waiter, deadline in self._deadlines.items():
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._give_up)
                return
            if not waiter.done():
                waiter.set_result(None)
