"""WatchRemovals of the fake."""

import time
from collections.abc import Iterator

import grpc
import pytest
from client_testing.callers import Caller, failure

from clerksync.testing import FakeSyncService

ADA, BOB, ORG = "user_ada", "user_bob", "org_1"
CHECKPOINT_S = 0.1


@pytest.fixture
def fake() -> Iterator[FakeSyncService]:
    with FakeSyncService(checkpoint_interval_s=CHECKPOINT_S) as fake:
        yield fake


def test_watchers_hear_removals(fake: FakeSyncService, caller: Caller) -> None:
    """Every watcher is told of each profile, user and organization that goes away, and of nothing else."""
    for org in (ORG, "org_2", "org_3"):
        fake.join(ADA, org)
    caller.ensure(BOB, ORG)
    with caller.watching() as one, caller.watching() as other:
        fake.wait_for_watchers(2)
        assert [True, True] == [watch.next().reset for watch in (one, other)]

        fake.remove("user_nobody", ORG)
        fake.delete_user("user_nobody")
        expected = [{(ADA, ORG)}, {(BOB, ORG)}, {("", "org_2")}, {(ADA, "")}]
        fake.remove(ADA, ORG)
        heard = [[watch.next_removals()[0] for watch in (one, other)]]
        fake.remove(BOB, ORG)
        heard.append([watch.next_removals()[0] for watch in (one, other)])
        fake.delete_organization("org_2")
        heard.append([watch.next_removals()[0] for watch in (one, other)])
        fake.delete_user(ADA)
        heard.append([watch.next_removals()[0] for watch in (one, other)])
    assert [[removal, removal] for removal in expected] == heard


def test_checkpoints(fake: FakeSyncService, caller: Caller) -> None:
    """A quiet stream says how far it has come, again and again; only the first response is a reset."""
    with caller.watching() as watch:
        started = time.monotonic()
        responses = [watch.next() for _ in range(4)]

    assert [True, False, False, False] == [response.reset for response in responses]
    assert 1 == len({response.position for response in responses})
    assert CHECKPOINT_S * 3 <= time.monotonic() - started


def test_resuming(fake: FakeSyncService, caller: Caller) -> None:
    """Who resumes by a position is told at once what was missed, without a reset; an unknown position is a reset."""
    fake.join(ADA, ORG)
    fake.join(BOB, ORG)
    with caller.watching() as watch:
        position = watch.next().position
    fake.remove(ADA, ORG)
    with caller.watching(position) as watch:
        response = watch.next()
        assert (False, [ADA]) == (response.reset, [removal.clerk_user_id for removal in response.removals])
    with caller.watching(response.position) as watch:
        assert (False, 0) == ((again := watch.next()).reset, len(again.removals))

    for unknown in ("?", position + "0", position.split(".")[0] + ".", "é"):
        with caller.watching(unknown) as watch:
            assert watch.next().reset


def test_more_than_fit_into_a_response(fake: FakeSyncService, caller: Caller) -> None:
    """A response tells at most 1,000 removals; the rest follows at once."""
    with caller.watching() as watch:
        position = watch.next().position
    users = {f"user_{number}" for number in range(1_500)}
    for user in users:
        fake.join(user, ORG)
        fake.remove(user, ORG)

    with caller.watching(position) as watch:
        first, second = watch.next_removals()[0], watch.next_removals()[0]

    assert [1_000, 500] == [len(first), len(second)]
    assert {(user, ORG) for user in users} == first | second


def test_cut_watchers(fake: FakeSyncService, caller: Caller) -> None:
    """All streams end with UNAVAILABLE, and a new one goes on from where the old one was."""
    fake.join(ADA, ORG)
    with caller.watching() as watch:
        position = watch.next().position
        fake.cut_watchers()
        while not isinstance(ended := watch.next(), grpc.RpcError):
            position = ended.position
    assert ("UNAVAILABLE", "SHUTTING_DOWN", []) == failure(ended)

    fake.remove(ADA, ORG)
    with caller.watching(position) as watch:
        assert {(ADA, ORG)} == watch.next_removals()[0]


def test_mute_watchers(fake: FakeSyncService, caller: Caller) -> None:
    """Muted streams are open and say nothing, new ones too; then they tell what they left out. Other calls go on."""
    fake.join(ADA, ORG)
    with caller.watching() as watch:
        watch.next()
        with fake.mute_watchers(), caller.watching() as new:
            fake.wait_for_watchers(2)
            time.sleep(CHECKPOINT_S)
            while not watch.is_silent:
                watch.next()  # What was on its way.
            fake.remove(ADA, ORG)
            caller.ensure(BOB, ORG)
            time.sleep(3 * CHECKPOINT_S)
            assert (True, True, 2) == (watch.is_silent, new.is_silent, fake.watchers)
        assert {(ADA, ORG)} == watch.next_removals()[0]


def test_forgotten_positions(fake: FakeSyncService, caller: Caller) -> None:
    """Once positions are too old, open streams and those that resume are told to drop all; likewise by reset."""
    for forget in (fake.forget_positions, fake.reset):
        with caller.watching() as watch:
            position = watch.next().position
            forget()
            while not (response := watch.next()).reset:
                pass
        with caller.watching(position) as watch:
            assert watch.next().reset
        with caller.watching(response.position) as watch:
            assert not watch.next().reset


def test_watchers_that_leave(fake: FakeSyncService, caller: Caller) -> None:
    """A stream that its caller has ended is no longer counted; who waits for more than come is told how many came."""
    with caller.watching() as watch:
        watch.next()
        assert 1 == fake.watchers
    deadline = time.monotonic() + 5
    while fake.watchers:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    with pytest.raises(TimeoutError, match="0 of 1 watchers"):
        fake.wait_for_watchers(timeout_s=0.05)
