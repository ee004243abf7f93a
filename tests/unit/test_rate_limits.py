"""How many calls a caller may make."""

import pytest

from clerksync_server.access.callers import Caller
from clerksync_server.access.rate_limits import RateLimits
from clerksync_server.errors import RateLimited

TEN = Caller("dns:ten", calls_per_second=10)


class Limits:
    """Rate limits, and the time in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.limits = RateLimits(now=lambda: self.now)

    def allows(self, caller: Caller, number: int = 1) -> bool:
        try:
            self.limits.take(caller, number)
        except RateLimited:
            return False
        return True

    def retry_after_s(self, caller: Caller) -> int:
        with pytest.raises(RateLimited) as caught:
            self.limits.take(caller, 1)
        return caught.value.retry_after_s


def test_a_caller_without_a_limit() -> None:
    """Whoever has no limit is never refused, and nothing is kept about it."""
    limits = Limits()

    assert all(limits.allows(Caller("dns:any"), 1000) for _ in range(1000))
    assert {} == limits.limits._buckets


def test_no_more_than_the_rate() -> None:
    """After a second's worth at once, a caller may make as many calls as its rate says, however often it tries."""
    limits = Limits()
    at_once = sum(limits.allows(TEN) for _ in range(50))
    later = 0
    for _ in range(1000):
        limits.now += 0.01
        later += limits.allows(TEN)

    assert (10, 100) == (at_once, round(later, -1))


def test_rest_is_not_saved_up() -> None:
    """Whoever has made no calls for long may make a second's worth at once, and no more."""
    limits = Limits()
    assert limits.allows(TEN)
    limits.now += 3600

    assert 10 == sum(limits.allows(TEN) for _ in range(50))


def test_a_batch_counts_as_its_items() -> None:
    """A batch of any size gets through once, and is then paid off at the rate; the caller is told for how long."""
    limits = Limits()

    assert limits.allows(TEN, 100)
    assert 10 == limits.retry_after_s(TEN)
    limits.now += 9
    assert (False, 1) == (limits.allows(TEN), limits.retry_after_s(TEN))
    limits.now += 0.2
    assert limits.allows(TEN)


def test_a_call_without_items_counts_as_one() -> None:
    """An empty batch is not free."""
    limits = Limits()

    assert 10 == sum(limits.allows(TEN, 0) for _ in range(50))


def test_each_caller_has_its_own() -> None:
    """One caller's calls are not held against another, and a limit that has changed holds at once."""
    limits = Limits()
    assert limits.allows(TEN, 1000)

    assert limits.allows(Caller("dns:other", calls_per_second=1))
    assert limits.allows(Caller("dns:ten", calls_per_second=20))


def test_two_limits_of_one_caller() -> None:
    """Who has one limit for some calls and another for the rest has both: to take turns fills neither up again."""
    limits = Limits()
    also = Caller(TEN.identity, calls_per_second=5)
    let_through = dict.fromkeys((TEN, also), 0)
    for _ in range(100):
        for caller in let_through:
            let_through[caller] += limits.allows(caller)

    assert let_through == {TEN: 10, also: 5}


def test_who_is_not_seen_again_is_forgotten() -> None:
    """However many identities and rates come and go, no more is kept than of the callers of the last seconds."""
    limits = Limits()
    for number in range(20_000):
        limits.now += 0.01
        limits.allows(Caller(f"spiffe://one/{number // 2}", calls_per_second=10 + number % 2))

    assert len(limits.limits._buckets) <= 1001
