"""What waits at the same time travels together, and nothing waits for anything to come."""

import asyncio
from collections.abc import Sequence

import pytest

from clerksync_server.sync.coalescing import Coalescer


class Line:
    """Work that notes its batches, and that is over when it is told so; with `open` set it is over at once."""

    def __init__(
        self,
        *,
        lanes: int = 1,
        most: int = 100,
        is_open: bool = False,
        turns: int = 0,
        shares_of: int | None = None,
    ) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Semaphore(1000 if is_open else 0)
        # The group is the first letter.
        self.coalescer: Coalescer[str, str] = Coalescer(
            self.work, lanes=lanes, most=most, group_of=lambda item: item[0], turns=turns, shares_of=shares_of
        )

    async def work(self, items: Sequence[str]) -> Sequence[str | Exception]:
        self.batches.append(list(items))
        await self.gate.acquire()
        if "!broken" in items:
            raise OSError("all of it")
        return [LookupError(item) if "?" in item else item.upper() for item in items]

    def ask(self, *items: str) -> list["asyncio.Task[str]"]:
        return [asyncio.create_task(self.coalescer.ask(item)) for item in items]


async def settle() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_lone_item_leaves_at_once() -> None:
    """Whoever comes alone waits for nobody."""
    line = Line(is_open=True)

    answers = [await line.coalescer.ask("a1"), await line.coalescer.ask("a2")]

    assert (answers, line.batches) == (["A1", "A2"], [["a1"], ["a2"]])


async def test_what_waits_travels_together() -> None:
    """Everything that came while the lane was taken leaves in one batch, and each gets its own outcome."""
    line = Line()
    first = line.ask("a1")
    await settle()
    others = line.ask("a2", "a3", "a4")
    await settle()
    line.gate.release()
    line.gate.release()

    assert ["A1", "A2", "A3", "A4"] == await asyncio.gather(*first, *others)
    assert line.batches == [["a1"], ["a2", "a3", "a4"]]


async def test_a_batch_is_bounded() -> None:
    """No batch holds more than it may; the rest leaves with the next ones, in the order in which it came."""
    line = Line(most=2, is_open=True)

    await asyncio.gather(*line.ask("a1", "a2", "a3", "a4", "a5"))

    assert line.batches == [["a1", "a2"], ["a3", "a4"], ["a5"]]


async def test_groups_take_turns() -> None:
    """Whoever comes alone from its group leaves with the next batch, however many wait of another group."""
    line = Line(most=4)
    first = line.ask("a0")
    await settle()
    others = line.ask(*(f"a{number}" for number in range(1, 10)), "b1", "c1")
    await settle()
    for _ in range(4):
        line.gate.release()
    await asyncio.gather(*first, *others)

    assert {"b1", "c1"} < set(line.batches[1])
    assert [["a0"], 4, 4, 3] == [line.batches[0], *map(len, line.batches[1:])]


async def test_as_many_batches_at_once_as_there_are_lanes() -> None:
    """With two lanes a second batch leaves while the first is on its way, and a third waits."""
    line = Line(lanes=2)
    tasks = []
    for item in ("a1", "a2", "a3", "a4"):
        tasks += line.ask(item)
        await settle()
    before = list(line.batches)
    for _ in range(3):
        line.gate.release()
    await asyncio.gather(*tasks)

    assert before == [["a1"], ["a2"]]
    assert line.batches == [["a1"], ["a2"], ["a3", "a4"]]


async def test_whoever_has_gone_away_is_left_out() -> None:
    """An item whose caller was cancelled before its batch left is not worked on; afterwards it is, for nobody."""
    line = Line()
    (gone_late,) = line.ask("a1")
    await settle()
    (gone_early,) = line.ask("a2")
    (stays,) = line.ask("a3")
    await settle()
    gone_early.cancel()
    gone_late.cancel()
    line.gate.release()
    line.gate.release()

    assert await stays == "A3"
    assert line.batches == [["a1"], ["a3"]]
    assert (gone_early.cancelled(), gone_late.cancelled()) == (True, True)


async def test_one_error_is_for_one() -> None:
    """An outcome that is an error is raised where it was asked for, and nowhere else."""
    line = Line(is_open=True)

    good, bad = await asyncio.gather(*line.ask("a1", "a?"), return_exceptions=True)

    assert (good, type(bad)) == ("A1", LookupError)


async def test_an_error_of_the_work_is_for_all() -> None:
    """What the work itself raises reaches everybody in the batch, and the next batch leaves as ever."""
    line = Line(is_open=True)

    failed = await asyncio.gather(*line.ask("a1", "!broken"), return_exceptions=True)

    assert [OSError, OSError] == list(map(type, failed))
    assert await line.coalescer.ask("a2") == "A2"


async def test_cancelled_work_cancels_those_who_wait() -> None:
    """When the work is cancelled, as at the end of the loop, nobody is left waiting for it."""
    line = Line()
    (task,) = line.ask("a1")
    await settle()
    (running,) = line.coalescer._running
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_another_number_of_outcomes() -> None:
    """Where there are not as many outcomes as items nobody is given one of another, and the next items have theirs."""
    wrong = [True]

    async def work(items: Sequence[str]) -> Sequence[str | Exception]:
        return list(items)[: -1 if wrong else None]

    coalescer: Coalescer[str, str] = Coalescer(work, lanes=1, most=100)
    answers = await asyncio.gather(*(coalescer.ask(str(n)) for n in range(5)), return_exceptions=True)
    wrong.clear()

    assert {ValueError} == {type(answer) for answer in answers}
    assert await coalescer.ask("next") == "next"


async def test_a_lane_that_is_stuck_is_passed() -> None:
    """While lanes do not come back further ones open, up to a limit; once they have, there are as many as before."""
    gate, batches = asyncio.Event(), []

    async def work(items: Sequence[str]) -> Sequence[str | Exception]:
        batches.append(list(items))
        if items[0].startswith("stuck"):
            await gate.wait()
        return list(items)

    coalescer: Coalescer[str, str] = Coalescer(work, lanes=1, most=100, stuck_after_s=0.01, most_lanes=3)
    stuck = [asyncio.create_task(coalescer.ask("stuck 1"))]
    await settle()
    async with asyncio.timeout(2):
        assert await coalescer.ask("one") == "one"
        stuck.append(asyncio.create_task(coalescer.ask("stuck 2")))
        await asyncio.sleep(0.05)
        assert await asyncio.gather(*(coalescer.ask(str(n)) for n in range(5))) == list("01234")
    assert batches[-1] == list("01234")
    stuck.append(asyncio.create_task(coalescer.ask("stuck 3")))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(coalescer.ask("waits"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    gate.set()
    await asyncio.gather(*stuck, waiting)

    assert await asyncio.gather(*(coalescer.ask(f"{n}") for n in range(3))) == list("012")
    assert batches[-1] == list("012")


async def test_what_is_there_is_shared_out_among_the_lanes() -> None:
    """With shares each lane takes as much as the others, so that all of them have something to do."""
    line = Line(lanes=2, shares_of=2)
    tasks = line.ask(*(f"a{number}" for number in range(9)))
    await settle()

    assert [5, 4] == list(map(len, line.batches))
    for _ in range(2):
        line.gate.release()
    await asyncio.gather(*tasks)


async def test_a_trifle_waits_for_more_or_for_a_lane() -> None:
    """With shares a lane leaves with half a share at least; less than that waits until another lane has come back."""
    line = Line(lanes=2, shares_of=4)
    tasks = line.ask("a1")
    await settle()
    tasks += line.ask("a2")
    await settle()
    assert line.batches == [["a1"]]

    line.gate.release()
    await settle()
    assert line.batches == [["a1"], ["a2"]]

    tasks += line.ask("a3")
    await settle()
    tasks += line.ask("a4")
    await settle()
    assert line.batches == [["a1"], ["a2"], ["a3", "a4"]]
    for _ in range(2):
        line.gate.release()
    await asyncio.gather(*tasks)


async def test_a_trifle_does_not_wait_for_what_is_stuck() -> None:
    """Once a lane has not come back for a while, what comes afterwards leaves as if nothing were under way."""
    gate = asyncio.Event()

    async def work(items: Sequence[str]) -> Sequence[str | Exception]:
        if "stuck" in items:
            await gate.wait()
        return list(items)

    coalescer: Coalescer[str, str] = Coalescer(work, lanes=2, most=100, shares_of=8, stuck_after_s=0.01, most_lanes=2)
    stuck = asyncio.create_task(coalescer.ask("stuck"))
    await settle()
    async with asyncio.timeout(2):
        assert await coalescer.ask("late") == "late"
    at_once = asyncio.create_task(coalescer.ask("at once"))
    await settle()

    assert (at_once.done(), stuck.done()) == (True, False)
    gate.set()
    await stuck


@pytest.mark.parametrize("turns", [0, 50])
async def test_a_stream_of_items_is_gathered(turns: int) -> None:
    """What comes one by one, faster than work is done, travels together if the loop may turn before a batch leaves."""
    sizes = []

    async def work(items: Sequence[str]) -> Sequence[str | Exception]:
        sizes.append(len(items))
        for _ in range(3):
            await asyncio.sleep(0)
        return list(items)

    coalescer: Coalescer[str, str] = Coalescer(work, lanes=1, most=100, turns=turns)
    tasks = []
    for number in range(200):
        tasks.append(asyncio.create_task(coalescer.ask(str(number))))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    assert (len(sizes) < 10) == bool(turns)


async def test_a_lone_item_lets_no_loop_turn() -> None:
    """Whoever comes alone does not pay for gathering, also after a time when many came."""
    line = Line(is_open=True, turns=1000)
    await asyncio.gather(*line.ask("a1", "a2", "a3"))
    await asyncio.gather(*line.ask("a4"))
    line.batches.clear()
    (lone,) = line.ask("a5")
    await settle()

    assert (lone.done(), line.batches) == (True, [["a5"]])
