"""Gathers what waits at the same time into one piece of work. No timer delays it: a lone item waits for nobody."""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from clerksync_server.errors import DatabaseUnavailable, Overloaded
from clerksync_server.sync.room import Room

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")
_Waiting = tuple[_Item, "asyncio.Future[_Outcome]", float]
"""What is asked for, its outcome, and since when it waits by the clock of the loop."""
_LOOKS = 8
"""How often patience is looked at while it lasts: no timer for each item."""
_BEHIND_A_FAILURE = 4
"""Who has waited for this part of its patience when the database fails others is not made to try it as well."""

Work = Callable[[Sequence[_Item]], Awaitable[Sequence[_Outcome | Exception]]]
"""Does all of it; returns an outcome for each item, in their order. What it raises is the outcome of every item."""


class Coalescer(Generic[_Item, _Outcome]):
    """Runs `work` on batches of what is asked for, as many at once as there are lanes.

    A batch leaves as soon as a lane is free, with all that waits, at most `most` by `size_of` (by default a number of
    items); one that is larger by itself goes alone. Where more waits, the groups (for
    example organizations) take turns, so that one with very many items holds up the others no longer than one batch.
    An item whose caller went away before its batch left is left out.

    With a `room`, an item that finds no more room among those that wait is Overloaded, at once. One whose caller went
    away takes up room for as long as it is kept.
    """

    def __init__(
        self,
        work: "Work[_Item, _Outcome]",
        *,
        lanes: int,
        most: int,
        group_of: Callable[[_Item], Hashable] = lambda _: None,
        size_of: Callable[[_Item], int] = lambda _: 1,
        stuck_after_s: float | None = None,
        most_lanes: int = 0,
        turns: int = 0,
        shares_of: int | None = None,
        room: Room | None = None,
        cost_of: Callable[[_Item], int] | None = None,
        patience_s: float | None = None,
    ) -> None:
        """With `stuck_after_s`, more lanes open where none has come back for so long, up to `most_lanes`.

        Where items come faster than work is done, a batch lets the event loop turn so many `turns` before it leaves: a
        transport that reads call by call would make every batch a batch of one or two. An idle loop takes about a
        microsecond for each. A lone item leaves at once, as nothing else has come while the one before was under way.

        With `shares_of`, all that is waiting or under way is shared out evenly among the lanes, in batches of at least
        so many items: else one lane would have nearly all, and the others trifles. What is less than half a share
        waits until there is more, or a lane comes back.

        `cost_of` says how much of the `room` an item takes while it waits; without it that is its size.

        With `patience_s`, whoever has waited for so long, for its turn or for its outcome, gets DatabaseUnavailable, an
        eighth of it later at most, and work that takes longer is cancelled. Where work raises DatabaseUnavailable, so
        does every item that has waited for a quarter of it for its turn: the next batch may take as long to fail.
        """
        self._work = work
        self._turns = turns
        self._lanes = self._free_lanes = lanes
        self._shares_of = shares_of
        self._spare_lanes = max(0, most_lanes - lanes)
        self._stuck_after_s = stuck_after_s
        self._watching: asyncio.TimerHandle | None = None
        self._left_at = 0.0
        self._most = most
        self._group_of = group_of
        self._room = room
        self._cost_of = cost_of or size_of
        self._size_of = size_of
        self._patience_s = patience_s
        self._aging: asyncio.TimerHandle | None = None
        self._out: dict[int, tuple[asyncio.Task[None], float, list[_Waiting[_Item, _Outcome]]]] = {}
        """With patience each batch that has left, by its number: by which task, and when."""
        self._given_up: set[int] = set()
        """Batches whose work was cancelled."""
        self._waiting: dict[Hashable, deque[_Waiting[_Item, _Outcome]]] = {}
        self._number_waiting = 0
        self._under_way: dict[int, int] = {}
        """How many items are in each batch that has left, by its number; without those that are stuck."""
        self._numbers = itertools.count()
        self._is_busy = False
        """Whether items come faster than work is done."""
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, item: _Item) -> _Outcome:
        """Returns the item's outcome, or raises it. Cancelling the caller cancels no work that has begun."""
        return await self.submit(item)

    def submit(self, item: _Item) -> "asyncio.Future[_Outcome]":
        """As `ask`, for one who asks for several: cancel the future, or give it a result, to leave the item out."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[_Outcome] = loop.create_future()
        group = self._group_of(item)
        if self._room is not None:
            try:
                self._room.take(self._cost_of(item), group)
            except Overloaded as error:
                outcome.set_exception(error)
                return outcome
        self._waiting.setdefault(group, deque()).append((item, outcome, loop.time()))
        self._number_waiting += 1
        if self._aging is None and self._patience_s is not None:
            self._aging = loop.call_later(self._patience_s / _LOOKS, self._age)
        if self._free_lanes and self._is_worth_a_lane():
            self._open_lane()
        elif self._stuck_after_s is not None and self._watching is None:
            self._watching = loop.call_later(self._stuck_after_s, self._look)
        return outcome

    def _share(self) -> int:
        if self._shares_of is None:
            return self._number_waiting
        outstanding = self._number_waiting + sum(self._under_way.values())
        return max(self._shares_of, -(-outstanding // self._lanes))

    def _is_worth_a_lane(self) -> bool:
        return not self._under_way or 2 * self._number_waiting >= self._share()

    def _open_lane(self) -> None:
        spare = not self._free_lanes
        if spare:
            self._spare_lanes -= 1
        else:
            self._free_lanes -= 1
        # In a context of its own: the work belongs to none of those who wait for it.
        task = asyncio.get_running_loop().create_task(self._run(spare=spare), context=Context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _look(self) -> None:
        """Opens another lane if something waits, and no batch has left for a while."""
        assert self._stuck_after_s is not None
        self._watching = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if loop.time() - self._left_at >= self._stuck_after_s:
            # Nobody waits any longer for what is under way.
            self._under_way.clear()
            if self._free_lanes or self._spare_lanes:
                self._open_lane()
        self._watching = loop.call_later(self._stuck_after_s, self._look)

    def _age(self) -> None:
        """Gives up who has waited for too long. Runs for as long as there is anybody."""
        assert self._patience_s is not None
        loop = asyncio.get_running_loop()
        before = loop.time() - self._patience_s
        detail = "a call has waited for longer than it may"
        self._give_up(before, detail)
        for number, (task, left_at, batch) in self._out.items():
            for _, outcome, since in batch:
                if since <= before and not outcome.done():
                    outcome.set_exception(DatabaseUnavailable(detail))
            if left_at <= before and number not in self._given_up:
                self._given_up.add(number)
                task.cancel()
        is_idle = not self._waiting and not self._out
        self._aging = None if is_idle else loop.call_later(self._patience_s / _LOOKS, self._age)

    def _give_up(self, before: float, detail: str) -> None:
        """Takes all out of the line that wait since then, or for longer."""
        for group, queue in list(self._waiting.items()):
            while queue and queue[0][2] <= before:
                item, outcome, _ = queue.popleft()
                self._has_left(item, group)
                if not outcome.done():
                    outcome.set_exception(DatabaseUnavailable(detail))
            if not queue:
                del self._waiting[group]

    def _has_left(self, item: _Item, group: Hashable) -> None:
        self._number_waiting -= 1
        if self._room is not None:
            self._room.give_back(self._cost_of(item), group)

    async def _run(self, *, spare: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            # What was asked before this task had its turn travels along.
            while self._waiting and self._is_worth_a_lane():
                for _ in range(self._turns if self._is_busy else 0):
                    await asyncio.sleep(0)
                batch = self._take()
                number = next(self._numbers)
                self._under_way[number] = len(batch)
                try:
                    if batch:
                        if self._patience_s is not None:
                            self._out[number] = task, self._left_at, batch
                        await self._do(batch)
                except asyncio.CancelledError:
                    if number not in self._given_up or task.uncancel():
                        raise
                finally:
                    self._out.pop(number, None)
                    self._given_up.discard(number)
                    self._under_way.pop(number, None)
                self._is_busy = len(batch) > 1 or bool(self._waiting)
        finally:
            if spare:
                self._spare_lanes += 1
            else:
                self._free_lanes += 1

    def _take(self) -> "list[_Waiting[_Item, _Outcome]]":
        batch: list[_Waiting[_Item, _Outcome]] = []
        size = 0
        share = self._share()
        while self._waiting and len(batch) < share:
            group, queue = next(iter(self._waiting.items()))
            if not queue[0][1].done():
                size += self._size_of(queue[0][0])
                if batch and size > self._most:
                    break
                batch.append(queue[0])
            # To the end of the line, so that the groups take turns over batches as well.
            item, _, _ = queue.popleft()
            self._has_left(item, group)
            del self._waiting[group]
            if queue:
                self._waiting[group] = queue
        if batch:
            self._left_at = asyncio.get_running_loop().time()
        return batch

    async def _do(self, batch: "list[_Waiting[_Item, _Outcome]]") -> None:
        try:
            outcomes: Sequence[_Outcome | Exception] = await self._work([item for item, _, _ in batch])
            if len(outcomes) != len(batch):
                # Nobody knows whose they are.
                raise ValueError("as many outcomes as items were expected")
        except Exception as error:  # noqa: BLE001  (it is raised where it is waited for)
            outcomes = [error] * len(batch)
            if self._patience_s is not None and isinstance(error, DatabaseUnavailable):
                now = asyncio.get_running_loop().time()
                self._give_up(now - self._patience_s / _BEHIND_A_FAILURE, error.detail)
        except BaseException:
            for _, waiting, _ in batch:
                waiting.cancel()
            raise
        for (_, waiting, _), outcome in zip(batch, outcomes, strict=True):
            if waiting.done():
                continue
            if isinstance(outcome, Exception):
                waiting.set_exception(outcome)
            else:
                waiting.set_result(outcome)
