"""Nobody waits for longer than its patience for what is stuck, nor for its turn behind it."""

import asyncio
from collections.abc import Sequence

import pytest

from clerksync_server.errors import DatabaseUnavailable
from clerksync_server.sync.coalescing import Coalescer
from clerksync_server.sync.room import Room

PATIENCE_S = 0.4


class Stuck:
    """Work that comes to no end while it is `closed`; with `fails_after_s` it then finds the database away."""

    def __init__(self, *, fails_after_s: float | None = None) -> None:
        self.is_closed = True
        self.batches: list[list[str]] = []
        self._fails_after_s = fails_after_s
        self.coalescer: Coalescer[str, str] = Coalescer(
            self.work, lanes=1, most=100, group_of=lambda item: item[0], room=Room(10), patience_s=PATIENCE_S
        )

    async def work(self, items: Sequence[str]) -> Sequence[str]:
        self.batches.append(list(items))
        if self.is_closed:
            await asyncio.sleep(60 if self._fails_after_s is None else self._fails_after_s)
            raise DatabaseUnavailable("away")
        return list(items)

    async def asked(self, item: str) -> tuple[str, float]:
        """What came of it, and after how many seconds."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            return await self.coalescer.ask(item), loop.time() - started
        except DatabaseUnavailable:
            return "unavailable", loop.time() - started


async def test_patience_is_counted_from_the_arrival() -> None:
    """Whoever is stuck, or waits behind that, is told so when its own patience ends, and not that of another."""
    stuck = Stuck()
    calls = [asyncio.create_task(stuck.asked("a1"))]
    for number in range(5):
        await asyncio.sleep(PATIENCE_S / 4)
        calls.append(asyncio.create_task(stuck.asked(f"b{number}")))
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*calls)

    assert {"unavailable"} == {answer for answer, _ in answers}
    assert all(0.9 * PATIENCE_S < took_s < 2 * PATIENCE_S for _, took_s in answers)


async def test_work_that_takes_too_long_is_cancelled() -> None:
    """The lane comes back, as does the room of those who were given up, and the next ones are served by it."""
    stuck = Stuck()
    first = [asyncio.create_task(stuck.asked(f"{n}")) for n in range(3)]
    await asyncio.sleep(0.01)
    (running,) = stuck.coalescer._running
    behind = [asyncio.create_task(stuck.asked(f"{n}")) for n in range(10)]
    async with asyncio.timeout(5):
        given_up = await asyncio.gather(*first, *behind)
        stuck.is_closed = False
        served = await asyncio.gather(*(stuck.asked(f"{n}") for n in range(10)))
        await asyncio.wait([running])

    assert ["unavailable"] * 13 == [answer for answer, _ in given_up]
    assert [f"{n}" for n in range(10)] == [answer for answer, _ in served]
    assert not running.cancelled()


async def test_behind_a_batch_that_failed() -> None:
    """Where the database is away, who has waited for a while is told so too; who has just come is tried."""
    stuck = Stuck(fails_after_s=0.75 * PATIENCE_S)
    first = asyncio.create_task(stuck.asked("a1"))
    await asyncio.sleep(PATIENCE_S / 8)
    waiting = asyncio.create_task(stuck.asked("b1"))
    await asyncio.sleep(PATIENCE_S / 2)
    late = asyncio.create_task(stuck.asked("c1"))
    await asyncio.sleep(0)
    stuck.is_closed = False
    async with asyncio.timeout(5):
        answers = await asyncio.gather(first, waiting, late)

    assert ["unavailable", "unavailable", "c1"] == [answer for answer, _ in answers]
    assert [["a1"], ["c1"]] == stuck.batches


async def test_work_that_is_cancelled_from_outside() -> None:
    """The end of the loop is no impatience: work that is cancelled by it stays cancelled."""
    stuck = Stuck()
    asked = asyncio.create_task(stuck.asked("a1"))
    await asyncio.sleep(0.01)
    (running,) = stuck.coalescer._running
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asked
    assert running.cancelled()
