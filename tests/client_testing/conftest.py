"""A fake, and a caller of it on threads."""

from collections.abc import Iterator

import grpc
import pytest
from client_testing.callers import Caller

from clerksync.testing import FakeSyncService
from clerksync.testing.fixtures import fake_sync_service as fake_sync_service  # noqa: PLC0414  (made known to pytest)


@pytest.fixture
def fake(fake_sync_service: FakeSyncService) -> FakeSyncService:
    return fake_sync_service


@pytest.fixture
def caller(fake: FakeSyncService) -> Iterator[Caller]:
    with grpc.insecure_channel(fake.target) as channel:
        yield Caller(channel)
