"""The circuit breaker."""

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


def test_it_opens_after_five_failures_in_a_row(breaker: CircuitBreaker) -> None:
    """Four failures and a success leave it closed, five in a row open it."""
    fail(breaker, 4)
    assert breaker.allows()
    breaker.succeeded()
    fail(breaker, 5)

    assert breaker.is_open
    assert not breaker.allows()


def test_it_lets_one_through_after_a_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a second exactly one try is allowed, and its success closes the breaker."""
    fail(breaker, 5)
    clock.wait(0.7)

    assert not breaker.allows()

    clock.wait(0.3)

    assert [True, False, False] == [breaker.allows() for _ in range(3)]

    breaker.succeeded()

    assert [True, True] == [breaker.allows() for _ in range(2)]


def test_each_failed_try_doubles_the_pause_up_to_half_a_minute(breaker: CircuitBreaker, clock: Clock) -> None:
    """Pauses are 1, 2, 4, 8, 16, 30, 30 s, each at most a quarter shorter."""
    fail(breaker, 5)
    for pause_s in (1, 2, 4, 8, 16, 30, 30):
        clock.wait(0.74 * pause_s)

        assert not breaker.allows()

        clock.wait(0.26 * pause_s)

        assert breaker.allows()
        breaker.failed()


def test_a_success_forgets_the_pauses(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a success the next pause is a second again."""
    fail(breaker, 5)
    clock.wait(1)
    fail(breaker, 1)
    clock.wait(2)
    assert breaker.allows()
    breaker.succeeded()
    fail(breaker, 5)
    clock.wait(1)

    assert breaker.allows()


def test_a_try_that_was_given_up_leaves_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    """If the request that was let through goes away, the next one is let through."""
    fail(breaker, 5)
    clock.wait(1)
    assert breaker.allows()
    breaker.gave_up()

    assert breaker.allows()


def test_late_failures_do_not_lengthen_the_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """Of a hundred calls that fail at the same time only the first five count."""
    for _ in range(100):
        assert breaker.allows()
    for _ in range(100):
        breaker.failed()
    clock.wait(1)

    assert breaker.allows()
