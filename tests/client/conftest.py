"""A SyncService in this process, and a client of it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from clerksync import SyncClient
from clerksync.testing import FakeSyncService
from client.waiting import in_step


@pytest.fixture
def fake() -> Iterator[FakeSyncService]:
    with FakeSyncService(checkpoint_interval_s=0.2) as running:
        yield running


@pytest.fixture
async def client(fake: FakeSyncService) -> AsyncIterator[SyncClient]:
    """Its stream of removals is open, and in step."""
    async with SyncClient(fake.target) as made:
        await in_step(made)
        yield made
