"""The rules stand twice, in Python and in SQL: the same calls leave the same rows in both, after each of them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from rules_twice import Both, Steps
from stack import now_ms

from clerksync_server.database.connection import Database
from clerksync_server.rules.evidence import LEEWAY_MS

SEEDS = range(40)
STEPS = 60


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, pool_size=4)
    await opened.open()
    yield opened
    await opened.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_same_steps_same_rows(database: Database, connection: Any, seed: int) -> None:
    """Any sequence of deliveries and Ensure calls leaves the same rows and gets the same answers by both rules."""
    begin_ms = now_ms() - 1_000
    steps = Steps(seed, begin_ms)

    async with Both(database, connection, begin_ms + LEEWAY_MS) as both:
        for _ in range(STEPS):
            await steps.take(both)
            await both.compare()


@pytest.mark.parametrize("seed", SEEDS)
async def test_same_batches_same_rows(database: Database, connection: Any, seed: int) -> None:
    """So does any sequence of batches of deliveries, with repeats in them, and with other calls between them."""
    begin_ms = now_ms() - 1_000
    steps = Steps(seed, begin_ms)

    async with Both(database, connection, begin_ms + LEEWAY_MS) as both:
        for _ in range(STEPS // 4):
            await both.deliver_together(steps.several(may_end_organizations=False))
            await both.compare()
            await steps.take(both)
            await both.compare()


@pytest.mark.parametrize("seed", SEEDS)
async def test_same_deliveries_at_once_same_rows(database: Database, connection: Any, seed: int) -> None:
    """So do deliveries that come at the same time, repeats among them, in whichever order they are committed."""
    begin_ms = now_ms() - 1_000
    steps = Steps(seed, begin_ms)

    async with Both(database, connection, begin_ms + LEEWAY_MS) as both:
        for _ in range(STEPS // 4):
            await both.deliver_at_once(steps.several())
            await both.compare()
            await steps.take(both)
            await both.compare()
