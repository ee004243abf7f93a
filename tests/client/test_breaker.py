"""The circuit breaker."""

from collections.abc import Callable

import pytest

from clerksync.breaker import CircuitBreaker
from client.rows import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(now=clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        assert breaker.allows()
        breaker.failed()


def test_it_opens_after_three_failures_in_a_row(breaker: CircuitBreaker) -> None:
    """Two failures and a success leave it closed, three in a row open it."""
    fail(breaker, 2)
    assert breaker.allows()
    breaker.succeeded()
    fail(breaker, 3)

    assert breaker.is_open
    assert not breaker.allows()


def test_it_lets_one_through_after_a_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a second exactly one try is allowed, and its success closes the breaker."""
    fail(breaker, 3)
    clock.wait(0.7)

    assert not breaker.allows()

    clock.wait(0.3)

    assert [True, False, False] == [breaker.allows() for _ in range(3)]

    breaker.succeeded()

    assert [True, True] == [breaker.allows() for _ in range(2)]


def test_each_failed_try_doubles_the_pause_up_to_half_a_minute(breaker: CircuitBreaker, clock: Clock) -> None:
    """Pauses are 1, 2, 4, 8, 16, 30, 30 s, each at most a quarter shorter."""
    fail(breaker, 3)
    for pause_s in (1, 2, 4, 8, 16, 30, 30):
        clock.wait(0.74 * pause_s)

        assert not breaker.allows()

        clock.wait(0.26 * pause_s)

        assert breaker.allows()
        breaker.failed()


def test_a_success_forgets_the_pauses(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a success the next pause is a second again."""
    fail(breaker, 3)
    clock.wait(1)
    fail(breaker, 1)
    clock.wait(2)
    assert breaker.allows()
    breaker.succeeded()
    fail(breaker, 3)
    clock.wait(1)

    assert breaker.allows()


def test_a_try_that_was_given_up_leaves_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    """If the one that was let through made no call, the next one is let through."""
    fail(breaker, 3)
    clock.wait(1)
    assert breaker.allows()
    breaker.gave_up()

    assert breaker.allows()


def test_late_failures_do_not_lengthen_the_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """Of a hundred calls that fail at the same time only the first three count."""
    for _ in range(100):
        assert breaker.allows()
    for _ in range(100):
        breaker.failed()
    clock.wait(1)

    assert breaker.allows()


def test_a_try_that_was_lost_does_not_close_for_ever(breaker: CircuitBreaker, clock: Clock) -> None:
    """If nothing is ever heard of the try, another one is let through after ten seconds."""
    fail(breaker, 3)
    clock.wait(1)
    assert breaker.allows()
    clock.wait(9.9)

    assert not breaker.allows()

    clock.wait(0.2)

    assert breaker.allows()


def test_a_sign_of_life_ends_the_pause(breaker: CircuitBreaker) -> None:
    """Once SyncService is heard of otherwise one may try at once, and no more than one."""
    fail(breaker, 3)
    breaker.end_pause()

    assert [True, False] == [breaker.allows() for _ in range(2)]


def test_a_late_success_closes_it(breaker: CircuitBreaker) -> None:
    """An answer that comes when the breaker has opened shows that SyncService answers."""
    fail(breaker, 3)
    breaker.succeeded()

    assert breaker.allows()


def test_a_late_success_while_another_thread_asks() -> None:
    """A success that another thread tells in the very moment of asking breaks nothing."""
    hooks: list[Callable[[], None]] = []

    def now() -> float:
        while hooks:
            hooks.pop()()
        return 1000.0

    breaker = CircuitBreaker(now=now)
    fail(breaker, 3)
    hooks.append(breaker.succeeded)

    assert breaker.allows()
