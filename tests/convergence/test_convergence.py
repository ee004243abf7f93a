"""Whatever becomes of deliveries, with Ensure calls in between: the tables end where Clerk is.

Each history follows from its seed: `scripts/soak --seed 17` plays one of them alone, and says what it is made of.
"""

import asyncio
from collections.abc import Sequence

import pytest
from clerk_model.history import tell, tell_deletions
from convergence.deployment import as_processes, in_process
from convergence.play import Figures, play
from stack import now_ms
from transports import TRANSPORTS

SEEDS = range(48)
LONG_LIVED_SEEDS = range(1000, 1014)
PROCESS_SEEDS = range(2000, 2004)
BUSY_SEEDS: Sequence[Sequence[int]] = [range(3000 + 10 * number, 3010 + 10 * number) for number in range(2)]


@pytest.mark.parametrize("seed", SEEDS)
async def test_tables_end_where_clerk_is(hurried_database_url: str, seed: int) -> None:
    """No order, repetition, delay or loss leaves a wrong row at the end, nor a removed member at any moment."""
    async with in_process(hurried_database_url) as deployment:
        await play(tell(seed, now_ms()), deployment)


@pytest.mark.parametrize("seed", LONG_LIVED_SEEDS)
async def test_calls_that_do_not_tell_when_their_token_was_issued(hurried_database_url: str, seed: int) -> None:
    """Calls without `iat`, by removed members too, bring nobody back as long as tokens live no longer than was set."""
    async with in_process(hurried_database_url, long_lived_tokens=True) as deployment:
        await play(tell(seed, now_ms(), long_lived_tokens=True), deployment)


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("seeds", BUSY_SEEDS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
async def test_many_histories_at_once(hurried_database_url: str, seeds: Sequence[int]) -> None:
    """Histories that are played side by side do not disturb each other, and none of their requests fails."""
    async with in_process(hurried_database_url) as deployment:
        figures = await asyncio.gather(*(play(tell(seed, now_ms()), deployment) for seed in seeds))
        print(sum(figures, Figures()))


@pytest.mark.parametrize("seed", range(4))
async def test_deletions_overtake_what_they_end(hurried_database_url: str, seed: int) -> None:
    """However the deletion of a user or organization overlaps with what came before it, nothing of them is left."""
    async with in_process(hurried_database_url) as deployment:
        await play(tell_deletions(seed, now_ms()), deployment)


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_processes_of_their_own(hurried_database_url: str) -> None:
    """It is the same with two fronts and two SyncServices as four processes."""
    async with as_processes(hurried_database_url) as deployment:
        for seed in PROCESS_SEEDS:
            await play(tell(seed, now_ms()), deployment)
