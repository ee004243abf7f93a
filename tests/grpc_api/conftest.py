"""These tests run with every transport; those that start no SyncService, and test_removal_feed.py, once."""

from typing import Any

import pytest
from transports import TRANSPORTS


@pytest.fixture(params=TRANSPORTS)
def transport(request: Any) -> str:
    """What carries the calls of SyncService."""
    return str(request.param)
