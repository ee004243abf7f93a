"""One client in several event loops, threads and processes."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading

import pytest

from clerksync import SyncClient
from clerksync.testing import FakeSyncService


def run_script(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_client_made_without_a_loop_works_in_any(fake: FakeSyncService) -> None:
    """A client that is made at import time works in one event loop after the other, each with what it has asked."""
    client = SyncClient(fake.target)

    async def ask() -> bool:
        await client.ensure_user_profile("user_1", "org_1")
        return (await client.ensure_user_profile("user_1", "org_1")).created

    assert [False, False] == [asyncio.run(ask()) for _ in range(2)]


def test_loops_that_ended_are_forgotten(fake: FakeSyncService) -> None:
    """However many event loops have used a client, it holds on to the last ones only."""
    client = SyncClient(fake.target)

    async def ask() -> None:
        await client.ensure_user_profile("user_1", "org_1")

    for _ in range(5):
        asyncio.run(ask())
    gc.collect()

    assert 1 >= len(client._sessions)


def test_several_loops_at_once(fake: FakeSyncService, caplog: pytest.LogCaptureFixture) -> None:
    """Event loops in several threads may use one client at the same time, and none has anything to complain of."""
    client = SyncClient(fake.target)
    problems: list[BaseException] = []

    def live(name: str) -> None:
        async def ask() -> None:
            for number in range(100):
                ensured = await client.ensure_user_profile(f"{name}_{number}", "org_1")

                assert f"{name}_{number}" == ensured.profile.clerk_user_id

        try:
            asyncio.run(ask())
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=live, args=(f"user_{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ([], []) == (problems, caplog.messages)


async def test_who_cancels_all_tasks_does_not_end_the_client(fake: FakeSyncService) -> None:
    """If a program cancels every task of its loop and goes on, so does the client."""
    client = SyncClient(fake.target)
    await client.ensure_user_profile("user_1", "org_1")
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)

    assert not (await client.ensure_user_profile("user_1", "org_1")).created
    await client.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_children_that_only_compute_end_well(fake: FakeSyncService) -> None:
    """A process with an open client can be forked: children that leave the client alone end as they should."""
    ended = run_script(
        """
        import asyncio, multiprocessing, sys, clerksync
        async def run():
            async with clerksync.SyncClient(sys.argv[1]) as client:
                await client.ready()
                context = multiprocessing.get_context("fork")
                children = [context.Process(target=int) for _ in range(30)]
                for child in children:
                    child.start()
                for child in children:
                    child.join()
                print({child.exitcode for child in children})
        asyncio.run(run())
        """,
        fake.target,
    )

    assert "{0}\n" == ended.stdout


def test_a_script_may_end_without_closing(fake: FakeSyncService) -> None:
    """A program that ends with an open client says nothing and ends well."""
    ended = run_script(
        """
        import asyncio, sys, clerksync
        client = clerksync.SyncClient(sys.argv[1])
        print(asyncio.run(client.ensure_user_profile("user_1", "org_1")).created)
        """,
        fake.target,
    )

    assert (0, "True\n", "") == (ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_fork_after_use_is_told_instead_of_hanging(fake: FakeSyncService) -> None:
    """In a process forked from one that used a client, asking fails at once and says what to do."""
    ended = run_script(
        """
        import asyncio, os, sys, clerksync
        client = clerksync.SyncClient(sys.argv[1])
        async def ask():
            try:
                print((await client.ensure_user_profile("user_1", "org_1")).created, flush=True)
            except clerksync.Unavailable as error:
                print(error, flush=True)
        asyncio.run(ask())
        if os.fork() == 0:
            asyncio.run(ask())
            os._exit(0)
        os.wait()
        """,
        fake.target,
    )

    assert "make the first call after the fork" in ended.stdout
    assert ended.stdout.startswith("True\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_client_may_be_made_before_a_fork(fake: FakeSyncService) -> None:
    """A client made before a fork and used after it works in parent and children."""
    ended = run_script(
        """
        import asyncio, os, sys, clerksync
        client = clerksync.SyncClient(sys.argv[1])
        for _ in range(2):
            if os.fork() == 0:
                user = asyncio.run(client.ensure_user_profile("user_1", "org_1")).profile.clerk_user_id
                os.write(1, f"{user}\\n".encode())
                os._exit(0)
        os.wait(), os.wait()
        print(asyncio.run(client.ensure_user_profile("user_1", "org_1")).profile.clerk_user_id, flush=True)
        """,
        fake.target,
    )

    assert (0, "user_1\n" * 3) == (ended.returncode, ended.stdout)
