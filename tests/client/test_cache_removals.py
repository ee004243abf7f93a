"""More of the cache: the very moment of a removal, and what is remembered of removals."""

import pytest

from clerksync.cache import Cache
from client.rows import Clock, ensured

PAIR = ("user_1", "org_1")
ANSWER = ensured()
REMOVED = pytest.mark.parametrize(
    "removed", [PAIR, ("user_1", ""), ("", "org_1")], ids=["pair", "user", "organization"]
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@REMOVED
def test_an_answer_asked_for_in_the_moment_of_its_removal_is_not_used(clock: Clock, removed: tuple[str, str]) -> None:
    """Clocks are coarse: what was asked for when the removal was told may be older than it."""
    cache = Cache(size=3, ttl_s=300, now=clock)
    cache.put(PAIR, ANSWER, asked_at=clock())
    cache.drop([removed])
    assert cache.get(PAIR) is None


@REMOVED
def test_nor_if_the_answer_comes_later(clock: Clock, removed: tuple[str, str]) -> None:
    """Nor is it used if it comes when the removal has been told."""
    cache = Cache(size=3, ttl_s=300, now=clock)
    asked_at = clock()
    cache.drop([removed])
    clock.wait(0.1)
    cache.put(PAIR, ANSWER, asked_at=asked_at)
    assert cache.get(PAIR) is None


def test_nor_if_everything_was_dropped_in_that_moment(clock: Clock) -> None:
    """Nor is it used if everything was dropped in that moment."""
    cache = Cache(size=3, ttl_s=300, now=clock)
    cache.drop_all()
    cache.put(PAIR, ANSWER, asked_at=clock())
    assert cache.get(PAIR) is None


def test_what_is_asked_for_again_is_the_latest_used(clock: Clock) -> None:
    """An answer that is put again, for example after its TTL, is not the next to go."""
    cache = Cache(size=2, ttl_s=300, now=clock)
    for user in ("a", "b", "a", "c"):
        cache.put((user, "org"), ANSWER, asked_at=clock())
    assert [True, False, True] == [cache.get((user, "org")) is not None for user in "abc"]


def test_who_is_removed_twice_does_not_keep_the_others_remembered(clock: Clock) -> None:
    """Who is removed twice is remembered from the last time, and is not in the way of forgetting others."""
    cache = Cache(size=3, ttl_s=300, now=clock)
    for user in ("a", "b", "a"):
        cache.drop([(user, "")])
        clock.wait(200)
    cache.drop([])
    assert ["a"] == list(cache._users)


@pytest.mark.parametrize("form", [lambda n: (f"user_{n}", ""), lambda n: ("", f"org_{n}")], ids=["users", "orgs"])
def test_a_flood_of_deletions_is_bounded(clock: Clock, form: "object") -> None:
    """What is remembered of deleted users and organizations stays bounded."""
    cache = Cache(size=1000, ttl_s=300, now=clock)
    for number in range(3000):
        cache.drop([form(number)])  # type: ignore[operator]
        assert max(len(cache._users), len(cache._organizations)) <= 1000


def test_a_few_removals_do_not_empty_a_small_cache(clock: Clock) -> None:
    """A few removals of others empty no cache, however small it is."""
    cache = Cache(size=3, ttl_s=300, now=clock)
    cache.put(PAIR, ANSWER, asked_at=clock())
    clock.wait(1)
    cache.drop([(f"user_{number}", "org_2") for number in range(2, 100)])
    assert cache.get(PAIR) is ANSWER
