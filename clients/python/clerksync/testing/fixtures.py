"""A pytest fixture.

``pytest_plugins = ["clerksync.testing.fixtures"]`` in the topmost conftest.py, or in any
``from clerksync.testing.fixtures import fake_sync_service``.
"""

from collections.abc import Iterator

import pytest

from clerksync.testing import FakeSyncService


@pytest.fixture
def fake_sync_service() -> Iterator[FakeSyncService]:
    """A SyncService of the test's own, empty and running. See `clerksync.testing`."""
    with FakeSyncService() as fake:
        yield fake
