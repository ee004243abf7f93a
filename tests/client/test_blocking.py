"""The client without asyncio."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import clerksync
from clerksync import Identity
from clerksync.blocking import Guard, SyncClient
from clerksync.testing import FakeSyncService
from client.test_event_loops import run_script


@pytest.fixture
def client(fake: FakeSyncService) -> Iterator[SyncClient]:
    with SyncClient(fake.target) as made:
        assert made.ready()
        yield made


def wait_until(happened: "object", within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_profile_is_made_once_and_then_kept(client: SyncClient, fake: FakeSyncService) -> None:
    """The first call makes the profile and says so, the next one is answered from the cache."""
    first = client.ensure_user_profile("user_1", "org_1", time.time() - 1)
    second = client.ensure_user_profile("user_1", "org_1", time.time() - 1)

    assert (True, False) == (first.created, second.created)
    assert fake.profile("user_1", "org_1") == second.profile
    assert 1 == len(fake.calls)
    assert client.ensure_organization("org_1").organization == fake.organization_row("org_1")
    assert (1, 2) == (client.stats.hits, client.stats.misses)


def test_threads_share_calls(client: SyncClient, fake: FakeSyncService) -> None:
    """Of many threads that miss the same pair at the same time one asks; different pairs travel together."""
    with ThreadPoolExecutor(40) as threads, fake.slow(0.2):
        same = [threads.submit(client.ensure_user_profile, "user_1", "org_1") for _ in range(20)]
        other = [threads.submit(client.ensure_user_profile, f"user_{n}", "org_1") for n in range(2, 20)]
        ids = {future.result().profile.id for future in same}
        for future in other:
            future.result()

    assert 1 == len(ids)
    assert 1 == fake.times_asked("user_1", "org_1")
    assert 4 >= len(fake.calls)


async def test_an_answer_that_came_meanwhile_is_not_asked_for_again(fake: FakeSyncService) -> None:
    """A thread that found nothing kept, and comes to ask when the answer is there, gets that one."""
    async with clerksync.SyncClient(fake.target) as client:
        assert await client.ready()
        first = await client.ensure_user_profile("user_1", "org_1")
        second = await client._session().ask_for_profile(("user_1", "org_1"), None)

        assert first.profile == second.profile  # type: ignore[union-attr]
        assert (1, 1) == (client.stats.hits, client.stats.misses)
    assert 1 == len(fake.calls)


def test_errors_are_the_same(client: SyncClient, fake: FakeSyncService) -> None:
    """Refusals, ill-formed ids, late answers and outages raise what the asyncio client raises."""
    fake.delete_user("user_9")
    with pytest.raises(clerksync.UserDeleted):
        client.ensure_user_profile("user_9", "org_1")
    with pytest.raises(clerksync.InvalidRequest, match="clerk_user_id"):
        client.ensure_user_profile("", "org_1")
    with fake.slow(0.3), pytest.raises(clerksync.DeadlineExceeded):
        client.ensure_user_profile("user_1", "org_1", timeout_s=0.05)
    with fake.away(), pytest.raises(clerksync.Unavailable):
        client.ensure_user_profile("user_2", "org_1")


def test_a_removal_ends_the_kept_answer(client: SyncClient, fake: FakeSyncService) -> None:
    """Who was removed is refused a moment later."""
    fake.join("user_1", "org_1")
    client.ensure_user_profile("user_1", "org_1")
    fake.remove("user_1", "org_1")
    wait_until(lambda: client.kept_user_profile("user_1", "org_1") is None, within_s=1)

    with pytest.raises(clerksync.MembershipRemoved):
        client.ensure_user_profile("user_1", "org_1")


def test_not_ready_is_told_in_time(fake: FakeSyncService) -> None:
    """If nobody is there `ready` says so in time."""
    with fake.stopped(), SyncClient(fake.target) as client:
        assert not client.ready(within_s=0.2)


def test_closing_ends_the_thread_and_what_waits(fake: FakeSyncService) -> None:
    """After closing there is no thread, and callers that wait or come later are told."""
    client = SyncClient(fake.target)
    with fake.freeze(), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.ensure_user_profile, "user_1", "org_1")
        wait_until(lambda: len(fake.calls) == 1)
        client.close()

        with pytest.raises(clerksync.ClientClosed):
            waiting.result(2)
    with pytest.raises(clerksync.ClientClosed):
        client.ensure_user_profile("user_1", "org_1")
    assert "clerksync" not in [thread.name for thread in threading.enumerate()]


def test_a_script_may_end_without_closing(fake: FakeSyncService) -> None:
    """A program that ends with an open client says nothing and ends well and soon."""
    started = time.monotonic()
    ended = run_script(
        """
        import sys
        from clerksync.blocking import SyncClient
        print(SyncClient(sys.argv[1]).ensure_user_profile("user_1", "org_1").created)
        """,
        fake.target,
    )

    assert (0, "True\n", "") == (ended.returncode, ended.stdout, ended.stderr)
    assert time.monotonic() - started < 5


def test_servers_that_fork_work(fake: FakeSyncService) -> None:
    """A client made in the parent works in each child, as with gunicorn's preloading."""
    ended = run_script(
        """
        import os, sys
        from clerksync.blocking import SyncClient
        client = SyncClient(sys.argv[1])
        for _ in range(2):
            if os.fork() == 0:
                user = client.ensure_user_profile("user_1", "org_1").profile.clerk_user_id
                os.write(1, f"{user}\\n".encode())
                sys.exit(0)
        os.wait(), os.wait()
        """,
        fake.target,
    )

    assert (0, "user_1\n" * 2, "") == (ended.returncode, ended.stdout, ended.stderr)


def test_a_fork_after_use_is_told_instead_of_hanging(fake: FakeSyncService) -> None:
    """In a process forked from one that used the client, asking fails at once and says what to do."""
    ended = run_script(
        """
        import os, sys
        from clerksync.blocking import SyncClient
        client = SyncClient(sys.argv[1])
        client.ensure_user_profile("user_1", "org_1")
        if os.fork() == 0:
            try:
                client.ensure_user_profile("user_1", "org_1")
            except Exception as error:
                print(error, flush=True)
            os._exit(0)
        os.wait()
        """,
        fake.target,
    )

    assert "make the first call after the fork" in ended.stdout


def test_the_guard_keeps_the_budget(client: SyncClient, fake: FakeSyncService) -> None:
    """A request waits for a frozen SyncService no longer than the budget, and goes on without a profile."""
    guard = Guard(client, budget_s=0.05)
    with fake.freeze():
        started = time.monotonic()
        decision = guard.check(Identity("user_1", "org_1"))

        assert 0.25 > time.monotonic() - started
        assert (None, False) == (decision.profile, decision.denied)


def test_the_guard_denies_the_removed(client: SyncClient, fake: FakeSyncService) -> None:
    """A removed member is denied, a member gets the profile."""
    guard = Guard(client)
    fake.join("user_1", "org_1")
    profile = guard.check(Identity("user_1", "org_1")).profile
    fake.remove("user_1", "org_1")
    wait_until(lambda: client.stats.removals == 1)

    assert fake.profile("user_1", "org_1") is None
    assert profile is not None
    assert guard.check(Identity("user_1", "org_1")).denied
