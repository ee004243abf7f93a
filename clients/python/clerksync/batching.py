"""Gathers the misses that wait at the same time into one call. There are no timers: a lone miss leaves at once.

A batch leaves when the one before has returned. Where many wait, two are on their way at a time: while SyncService
looks one up, the answers of the other are read. One that is stuck holds up the others for a moment only: then the next
miss that comes sends what is waiting past it.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import datetime
from typing import Final

from clerksync.cache import Answer, Key
from clerksync.deadlines import Waiter
from clerksync.errors import CallFailed, ClerksyncError, ClientClosed, Unavailable
from clerksync.metadata import Metadata

MAX_ITEMS: Final = 1000
"""What SyncService takes in one call."""
MAX_BYTES: Final = 1024 * 1024
"""How large a call may be; SyncService takes messages of 1.5 MiB. Only session tokens make one that large."""
MAX_WAITING: Final = 10_000
"""More misses than this do not wait: SyncService is too slow for them, and memory is not to grow."""
_LANES: Final = 2
_WORTH_A_CALL: Final = 64
"""A call costs each side as much as some 30 questions, so fewer do not travel beside another batch."""
_STUCK_AFTER_S: Final = 0.025
_MOST_ON_THE_WAY: Final = 32
_BESIDES: Final = 32
"""The most bytes that a question takes in a call besides ids and token: its time, the tags, the lengths."""


class Call:
    """What carries some questions, and whether its failure has been counted."""

    __slots__ = ("has_failed",)

    def __init__(self) -> None:
        self.has_failed = False

    def fails_first(self) -> bool:
        """Whether this is the first that is heard of its failure."""
        first, self.has_failed = not self.has_failed, True
        return first


class Question:
    """A pair to be asked for, and those who wait for the outcome."""

    __slots__ = ("asked_at", "call", "issued_at", "key", "metadata", "session_token", "shared_by", "waiting")

    def __init__(
        self,
        key: Key,
        issued_at: datetime | None,
        metadata: Metadata,
        asked_at: float,
        session_token: str | None = None,
    ) -> None:
        self.key = key
        self.issued_at = issued_at
        self.session_token = session_token
        self.shared_by = shared_by(key, session_token)
        self.metadata = metadata
        self.asked_at = asked_at
        self.call: Call | None = None
        """What it has left with."""
        self.waiting: dict[Waiter, None] = {}
        """In the order in which they came."""

    def answers(self, issued_at: datetime | None) -> bool:
        """Whether its outcome will also be that of a sign-in then: not if this one may be refused and that not."""
        if issued_at is None or self.issued_at is None:
            return issued_at is self.issued_at
        return issued_at <= self.issued_at

    def waiter(self) -> Waiter:
        """Someone more who waits, until `left_by`."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self.waiting[waiter] = None
        return waiter

    def left_by(self, waiter: Waiter) -> None:
        """The outcome has been taken, or nobody waits for it any more."""
        del self.waiting[waiter]

    def settle(self, outcome: Answer | ClerksyncError) -> None:
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(outcome)


Send = Callable[[Sequence[Question]], Awaitable[Sequence[Answer | ClerksyncError]]]
"""Asks; returns an outcome for each question."""


class Batcher:
    """Lives in one event loop."""

    def __init__(self, send: Send, *, now: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._now = now
        self._open: dict[tuple[str, ...], Question] = {}
        self._waiting: list[Question] = []
        self._on_the_way: set[asyncio.Task[None]] = set()
        self._leaving = 0
        """How many of them have not had their turn yet."""
        self._last_left_at = 0.0
        self._closed = False

    def ask(
        self, key: Key, issued_at: datetime | None, metadata: Metadata, session_token: str | None = None
    ) -> tuple[Question, bool]:
        """The question to wait for, and whether it was there already. Raises Unavailable if too many wait."""
        if self._closed:
            raise ClientClosed("the client is closed")
        question = self._open.get(shared_by(key, session_token))
        if question is not None and self._joins(question, issued_at):
            return question, True
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable(f"{MAX_WAITING} others wait for SyncService already")
        now = self._now()
        question = Question(key, issued_at, metadata, now, session_token)
        self._open[question.shared_by] = question
        self._waiting.append(question)
        on_the_way = len(self._on_the_way)
        if (
            not on_the_way
            or (on_the_way < _LANES and len(self._waiting) >= _WORTH_A_CALL * (self._leaving + 1))
            or (now - self._last_left_at >= _STUCK_AFTER_S and on_the_way < _MOST_ON_THE_WAY)
        ):
            self._leave()
        return question, False

    async def close(self) -> None:
        """Ends what is waiting and on the way with ClientClosed."""
        self._closed = True
        tasks = tuple(self._on_the_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._settle(self._waiting, [ClientClosed("the client was closed")] * len(self._waiting))
        self._waiting = []

    @staticmethod
    def _joins(question: Question, issued_at: datetime | None) -> bool:
        if question.answers(issued_at):
            return True
        if question.call is not None or issued_at is None or question.issued_at is None:
            return False
        question.issued_at = issued_at  # The later time proves more, and has not been too late.
        return True

    def _leave(self) -> None:
        self._last_left_at = self._now()
        self._leaving += 1
        # In a context of its own: a batch belongs to no request, whichever happened to start it.
        task = asyncio.get_running_loop().create_task(self._run(), name="clerksync batch", context=Context())
        self._on_the_way.add(task)

    async def _run(self) -> None:
        # What was asked before this task had its turn travels along; those that leave together share it.
        size = _fitting(self._waiting, min(math.ceil(len(self._waiting) / self._leaving), MAX_ITEMS))
        self._leaving -= 1
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        call = Call()
        for question in batch:
            question.call = call
        outcomes: Sequence[Answer | ClerksyncError] = [ClientClosed("the client was closed")] * len(batch)
        try:
            if batch:
                outcomes = await self._send(batch)
        except Exception as error:  # noqa: BLE001  (whatever it is, those who wait must be told)
            outcomes = [CallFailed(f"unforeseen: {type(error).__name__}", code="UNKNOWN")] * len(batch)
        finally:
            self._settle(batch, outcomes)
            self._on_the_way.discard(_this_task())
        if self._waiting and not self._closed:
            self._leave()

    def _settle(self, questions: Sequence[Question], outcomes: Sequence[Answer | ClerksyncError]) -> None:
        for question, outcome in zip(questions, outcomes, strict=True):
            if self._open.get(question.shared_by) is question:
                del self._open[question.shared_by]
            question.settle(outcome)


def shared_by(key: Key, session_token: str | None) -> tuple[str, ...]:
    """What those who share a question have in common.

    With a session token that is its text: of two tokens that say the same one may be forged, and its refusal, or what
    the other one is told, is not for both.
    """
    return key if session_token is None else (*key, session_token)


def _fitting(waiting: Sequence[Question], size: int) -> int:
    """As many of the first `size` as one call has room for; a single one always fits."""
    room = MAX_BYTES
    for index in range(size):
        question = waiting[index]
        user, organization = question.key
        room -= len(user) + len(organization) + _BESIDES  # All of it is ASCII.
        if question.session_token is not None:
            room -= len(question.session_token)
        if room < 0:
            return index
    return size


def _this_task() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None
    return task
