"""More of the client without asyncio, and of its channel."""

import threading
import time
from collections.abc import Iterator

import pytest

import clerksync
from clerksync import Identity
from clerksync.blocking import Guard, SyncClient
from clerksync.testing import FakeSyncService


@pytest.fixture
def client(fake: FakeSyncService) -> Iterator[SyncClient]:
    with SyncClient(fake.target) as made:
        assert made.ready()
        yield made


def test_no_user_is_not_the_organization(client: SyncClient) -> None:
    """The answer about an organization is nobody's profile."""
    client.ensure_organization("org_1")
    assert client.kept_user_profile("", "org_1") is None
    with pytest.raises(clerksync.InvalidRequest):
        client.ensure_user_profile("", "org_1")


def test_a_thread_that_is_late_is_not_waited_for(client: SyncClient) -> None:
    """Where the background thread is busy, a call ends soon after its time."""
    client._started()._loop.call_soon_threadsafe(time.sleep, 1.5)
    started = time.monotonic()
    with pytest.raises(clerksync.DeadlineExceeded):
        client.ensure_user_profile("user_1", "org_1", timeout_s=0.05)
    assert time.monotonic() - started < 1


def test_the_guard_keeps_its_budget_even_then(client: SyncClient) -> None:
    """Where the background thread is busy, a request waits no longer than its budget."""
    client._started()._loop.call_soon_threadsafe(time.sleep, 1.0)
    time.sleep(0.05)
    started = time.monotonic()
    assert Guard(client, budget_s=0.05).check(Identity("user_1", "org_1")).profile is None
    assert time.monotonic() - started < 0.25


def test_a_fork_while_another_thread_starts_the_client(fake: FakeSyncService) -> None:
    """The lock of a thread that is not there after the fork is not waited for."""
    client = SyncClient(fake.target)
    client._starting.acquire()
    client.forget_thread()
    with client:
        assert client.ensure_user_profile("user_1", "org_1").created


def test_closing_while_another_thread_asks(fake: FakeSyncService) -> None:
    """Who asks while another thread closes the client is told that it is closed."""
    client = SyncClient(fake.target)
    background = client._started()
    client.close()
    client._background = background  # As a thread sees it that has looked a moment ago.
    with pytest.raises(clerksync.ClientClosed):
        client.ensure_user_profile("user_1", "org_1")
    client._background = None


def test_a_client_that_nobody_holds_any_more_ends(fake: FakeSyncService) -> None:
    """A client that nobody holds any more takes its thread, connection and stream along."""
    SyncClient(fake.target).ensure_user_profile("user_1", "org_1")
    deadline = time.monotonic() + 3
    while any(thread.name == "clerksync" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_replicas_take_turns() -> None:
    """Behind one name all replicas are asked."""
    with FakeSyncService() as one, FakeSyncService() as other:
        target = f"ipv4:{one.target},{other.target}"
        with SyncClient(target, cache_size=0) as client:
            deadline = time.monotonic() + 5
            number = 0
            while not (one.calls and other.calls):
                assert time.monotonic() < deadline
                client.ensure_user_profile(f"user_{number}", "org_1")
                number += 1
