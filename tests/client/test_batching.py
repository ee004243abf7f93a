"""The batcher by itself, with a send that the test controls."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

import clerksync
from clerksync.batching import _MOST_ON_THE_WAY, _STUCK_AFTER_S, _WORTH_A_CALL, MAX_ITEMS, Batcher, Question
from client.rows import Clock, ensured

A, B, C = ("user_a", "org"), ("user_b", "org"), ("user_c", "org")
T = datetime(2026, 1, 1, tzinfo=UTC)


class Service:
    """A send that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[tuple[str, str], datetime | None]]] = []
        self.answers: list[asyncio.Future[object]] = []

    async def __call__(self, questions: Sequence[Question]) -> list[object]:
        self.asked.append([(question.key, question.issued_at) for question in questions])
        self.answers.append(asyncio.get_running_loop().create_future())
        answer = await self.answers[-1]
        if isinstance(answer, Exception) and not isinstance(answer, clerksync.ClerksyncError):
            raise answer
        return [answer] * len(questions)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_later_token_speaks_for_an_earlier_one_that_still_waits() -> None:
    """A question that has not left takes the later token along; both have one outcome."""
    service, clock = Service(), Clock()
    batcher = Batcher(service, now=clock)  # type: ignore[arg-type]
    batcher.ask(A, None, ())
    await turn()
    early, _ = batcher.ask(B, T, ())
    late, joined = batcher.ask(B, T + timedelta(seconds=9), ())
    same, joined_too = batcher.ask(B, T + timedelta(seconds=9), ())
    assert early is late is same
    assert joined
    assert joined_too
    service.answers[0].set_result(ensured())
    await turn()
    assert [(B, T + timedelta(seconds=9))] == service.asked[1]
    await batcher.close()


async def test_the_same_token_joins_what_has_left() -> None:
    """Requests with one token share a call also when it is on its way; a later one does not."""
    service = Service()
    batcher = Batcher(service, now=Clock())  # type: ignore[arg-type]
    first, _ = batcher.ask(A, T, ())
    await turn()
    assert (first, True) == batcher.ask(A, T, ())
    assert (first, True) == batcher.ask(A, T - timedelta(seconds=1), ())
    assert not batcher.ask(A, None, ())[1]
    assert not batcher.ask(A, T + timedelta(seconds=1), ())[1]
    await batcher.close()


async def test_an_old_question_that_ends_leaves_the_newer_one_open() -> None:
    """When an old question ends, the newer one about the same pair is still there to join."""
    service, clock = Service(), Clock()
    batcher = Batcher(service, now=clock)  # type: ignore[arg-type]
    batcher.ask(A, T, ())
    await turn()
    newer, _ = batcher.ask(A, T + timedelta(seconds=1), ())
    service.answers[0].set_result(ensured())
    await turn()
    assert (newer, True) == batcher.ask(A, T + timedelta(seconds=1), ())
    assert 2 == len(service.asked)
    await batcher.close()


def ask(batcher: Batcher, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        batcher.ask((f"user_{number}", "org"), None, ())


@pytest.mark.parametrize(
    ("waiting", "sizes"),
    [
        (2 * _WORTH_A_CALL - 1, [2 * _WORTH_A_CALL - 1]),
        (2 * _WORTH_A_CALL + 1, [_WORTH_A_CALL + 1, _WORTH_A_CALL]),
        (2 * MAX_ITEMS + 9, [MAX_ITEMS, MAX_ITEMS]),
    ],
)
async def test_many_leave_in_two_batches_at_a_time(waiting: int, sizes: list[int]) -> None:
    """Where enough wait for two calls, two batches share them; more than two calls are not on their way."""
    service = Service()
    batcher = Batcher(service, now=Clock())  # type: ignore[arg-type]
    ask(batcher, waiting)
    await turn()
    assert sizes == [len(asked) for asked in service.asked]
    await batcher.close()


async def test_few_do_not_travel_beside_another_batch() -> None:
    """While one batch is on its way the next one leaves when enough wait for a call, or when the first has returned."""
    service = Service()
    batcher = Batcher(service, now=Clock())  # type: ignore[arg-type]
    ask(batcher, 1)
    await turn()
    ask(batcher, _WORTH_A_CALL - 1, first=1)
    await turn()
    assert [1] == [len(asked) for asked in service.asked]
    ask(batcher, 1, first=_WORTH_A_CALL)
    await turn()
    assert [1, _WORTH_A_CALL] == [len(asked) for asked in service.asked]
    ask(batcher, 3 * _WORTH_A_CALL, first=1000)
    await turn()
    assert [1, _WORTH_A_CALL] == [len(asked) for asked in service.asked]
    service.answers[0].set_result(ensured())
    await turn()
    assert [1, _WORTH_A_CALL, 3 * _WORTH_A_CALL] == [len(asked) for asked in service.asked]
    await batcher.close()


async def test_who_asked_first_is_told_first() -> None:
    """All who wait for one question have its outcome, in the order in which they came."""
    service, told = Service(), []
    batcher = Batcher(service, now=Clock())  # type: ignore[arg-type]

    async def wait(number: int) -> None:
        await batcher.ask(A, T, ())[0].waiter()
        told.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(5)]
    await turn()
    tasks[1].cancel()
    service.answers[0].set_result(ensured())
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [0, 2, 3, 4] == told
    await batcher.close()


async def test_no_more_than_a_few_calls_are_stuck() -> None:
    """Misses against a frozen service do not each send a batch of their own."""
    service, clock = Service(), Clock()
    batcher = Batcher(service, now=clock)  # type: ignore[arg-type]
    for number in range(2 * _MOST_ON_THE_WAY + 10):
        batcher.ask((f"user_{number}", "org"), None, ())
        await turn()
        clock.wait(_STUCK_AFTER_S)
    assert _MOST_ON_THE_WAY == len(service.asked)
    await batcher.close()


async def test_a_defect_strands_nobody() -> None:
    """A batch that raises fails as CallFailed, and what waits behind it leaves at once."""
    service = Service()
    batcher = Batcher(service, now=Clock())  # type: ignore[arg-type]
    waiter = batcher.ask(A, None, ())[0].waiter()
    await turn()
    batcher.ask(B, None, ())
    service.answers[0].set_result(KeyError("defect"))
    await turn()
    assert isinstance(waiter.result(), clerksync.CallFailed)
    assert [(B, None)] == service.asked[1]
    await batcher.close()
