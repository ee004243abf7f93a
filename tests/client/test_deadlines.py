"""When those who wait give up: each in its own time, by one timer for all who wait equally long."""

import asyncio
import time

import pytest

import clerksync
from clerksync import SyncClient
from clerksync.deadlines import Deadlines, Waiter
from clerksync.testing import FakeSyncService
from client.rows import ensured
from client.waiting import until


async def waits(deadlines: Deadlines, timeout_s: float) -> float:
    """Seconds until it gives up."""
    waiter: Waiter = asyncio.get_running_loop().create_future()
    started = time.monotonic()
    queue = deadlines.add(waiter, timeout_s)
    assert await waiter is None
    queue.leave(waiter)
    return time.monotonic() - started


async def test_each_gives_up_in_its_own_time() -> None:
    """Whoever came when gives up after its own timeout, not before, and soon after."""
    deadlines, timeouts = Deadlines(), [0.2, 0.05, 0.2, 0.05, 0.1]
    tasks = []
    for timeout_s in timeouts:
        tasks.append(asyncio.create_task(waits(deadlines, timeout_s)))
        await asyncio.sleep(0.02)
    late = [took - timeout_s for took, timeout_s in zip(await asyncio.gather(*tasks), timeouts, strict=True)]
    assert [] == [each for each in late if not 0 <= each < 0.1]


async def test_an_outcome_in_the_last_moment_counts() -> None:
    """Who has an outcome when the deadline comes keeps it, and does not keep those behind from giving up."""
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    waiters: list[Waiter] = [loop.create_future() for _ in range(2)]
    for waiter in waiters:
        deadlines.add(waiter, 0)
    waiters[0].set_result(ensured())
    await waiters[1]
    assert [ensured(), None] == [waiter.result() for waiter in waiters]


async def test_nothing_is_left_of_those_who_have_left() -> None:
    """However many different timeouts there were, no timer and no queue outlives those who waited."""
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    for number in range(1000):
        waiter: Waiter = loop.create_future()
        deadlines.add(waiter, 3600 + number).leave(waiter)
    assert {} == deadlines._queues
    armed = [timer.when() - loop.time() for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert [] == [seconds for seconds in armed if seconds > 3000]


@pytest.mark.parametrize("timeout_s", [0, -1, float("-inf")])
async def test_no_time_at_all(client: SyncClient, fake: FakeSyncService, timeout_s: float) -> None:
    """Who has no time to wait is told at once, and the question travels all the same."""
    with fake.slow(0.1):
        with pytest.raises(clerksync.DeadlineExceeded):
            await client.ensure_user_profile("user_1", "org_1", timeout_s=timeout_s)
        await until(lambda: client.kept_user_profile("user_1", "org_1") is not None)
    assert 1 == len(fake.calls)


async def test_who_shares_a_question_waits_as_long_as_it_likes(client: SyncClient, fake: FakeSyncService) -> None:
    """Of those who share one question each gives up at its own deadline; the patient have the answer."""
    with fake.slow(0.3):
        outcomes = await asyncio.gather(
            *(client.ensure_user_profile("user_1", "org_1", timeout_s=each) for each in (0.05, 5, 0.1, 2)),
            return_exceptions=True,
        )
    assert ["DeadlineExceeded", "EnsuredUserProfile"] * 2 == [type(outcome).__name__ for outcome in outcomes]
    assert 1 == len(fake.calls)


async def test_who_has_given_up_is_forgotten(client: SyncClient, fake: FakeSyncService) -> None:
    """However many have given up waiting for a call that is stuck, or were cancelled, it holds none of them."""
    with fake.freeze():
        asking = [client.ensure_user_profile("user_1", "org_1", timeout_s=0.05) for _ in range(9)]
        cancelled = asyncio.create_task(client.ensure_user_profile("user_1", "org_1"))
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        (question,) = client._session()._profiles._open.values()
        assert ([clerksync.DeadlineExceeded] * 9, {}) == ([type(each) for each in outcomes], question.waiting)
