"""A fake SyncService, and the sample applications on it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from client_middleware.all_apps import SAMPLES
from client_middleware.sample_apps import SampleApp

from clerksync.testing import FakeSyncService
from clerksync.testing.fixtures import fake_sync_service as fake_sync_service  # noqa: PLC0414  (made known to pytest)


@pytest.fixture
def fake(fake_sync_service: FakeSyncService) -> FakeSyncService:
    return fake_sync_service


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Serves a sample application until the test ends: called with its class, SyncService's target, and rules."""
    async with AsyncExitStack() as stop:

        async def start(make: type[SampleApp], target: str, **rules: Any) -> SampleApp:
            return await stop.enter_async_context(make(target, rules))

        yield start


@pytest.fixture(params=SAMPLES, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[SampleApp]:
    """Each of the sample applications in turn."""
    made: type[SampleApp] = request.param
    return made


@pytest.fixture
async def sample(kind: type[SampleApp], serve: Any, fake: FakeSyncService) -> Callable[..., Any]:
    """Serves the application of each framework in turn, on the fake: called with rules."""

    async def start(**rules: Any) -> Any:
        return await serve(kind, fake.target, **rules)

    return start
