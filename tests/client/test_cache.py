"""The cache: what it may answer, and what it has to forget."""

import random
import threading

import pytest

from clerksync.cache import SILENCE_S, Cache
from client.rows import Clock, ensured

PAIR = ("user_1", "org_1")
ANSWER = ensured()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Cache:
    made = Cache(size=3, ttl_s=300, now=clock)
    clock.wait(1)
    return made


def pass_time(cache: Cache, clock: Clock, seconds: float) -> None:
    """Lets time go by with a stream that speaks every two seconds."""
    for _ in range(int(seconds // 2)):
        clock.wait(2)
        cache.heard()
    clock.wait(seconds % 2)


def test_an_answer_is_kept_for_the_ttl_while_the_stream_speaks(cache: Cache, clock: Clock) -> None:
    """An answer is good until it is as old as the TTL, if the stream has said something all the while."""
    cache.put(PAIR, ANSWER, asked_at=clock())
    pass_time(cache, clock, 299)

    assert cache.get(PAIR) is ANSWER

    pass_time(cache, clock, 1)

    assert cache.get(PAIR) is None


def test_silence_shrinks_the_ttl(cache: Cache, clock: Clock) -> None:
    """An answer is good for no longer than the allowed silence after the stream has spoken for the last time."""
    cache.put(PAIR, ANSWER, asked_at=clock())
    pass_time(cache, clock, 100)
    clock.wait(SILENCE_S - 0.01)

    assert cache.get(PAIR) is ANSWER

    clock.wait(0.01)

    assert cache.get(PAIR) is None


def test_without_a_stream_answers_are_kept_for_seconds(cache: Cache, clock: Clock) -> None:
    """An answer is good for the allowed silence even if the stream has never spoken."""
    cache.put(PAIR, ANSWER, asked_at=clock())
    clock.wait(SILENCE_S - 0.01)

    assert cache.get(PAIR) is ANSWER

    clock.wait(0.01)

    assert cache.get(PAIR) is None


def test_a_stream_that_speaks_again_makes_answers_good_again(cache: Cache, clock: Clock) -> None:
    """After a pause that was resumed without a reset, what was kept before it holds again: nothing has been missed."""
    cache.put(PAIR, ANSWER, asked_at=clock())
    clock.wait(60)
    cache.heard()

    assert cache.get(PAIR) is ANSWER


@pytest.mark.parametrize("removed", [PAIR, ("user_1", ""), ("", "org_1")], ids=["pair", "user", "organization"])
def test_a_removal_drops_what_it_concerns(cache: Cache, clock: Clock, removed: tuple[str, str]) -> None:
    """A removal of the pair, its user or its organization ends the answer, and leaves those of others."""
    cache.put(PAIR, ANSWER, asked_at=clock())
    cache.put(("user_2", "org_2"), ANSWER, asked_at=clock())
    clock.wait(1)
    cache.drop([removed])

    assert cache.get(PAIR) is None
    assert cache.get(("user_2", "org_2")) is ANSWER


@pytest.mark.parametrize("removed", [PAIR, ("user_1", ""), ("", "org_1")], ids=["pair", "user", "organization"])
def test_an_answer_on_its_way_is_not_kept_past_a_removal(cache: Cache, clock: Clock, removed: tuple[str, str]) -> None:
    """An answer to a question asked before the removal was told is not used, though it comes after."""
    asked_at = clock()
    clock.wait(0.1)
    cache.drop([removed])
    clock.wait(0.1)
    cache.put(PAIR, ANSWER, asked_at=asked_at)

    assert cache.get(PAIR) is None


@pytest.mark.parametrize("removed", [PAIR, ("user_1", ""), ("", "org_1")], ids=["pair", "user", "organization"])
def test_who_comes_back_is_kept_again(cache: Cache, clock: Clock, removed: tuple[str, str]) -> None:
    """An answer to a question asked after the removal was told is kept."""
    cache.drop([removed])
    clock.wait(0.1)
    cache.put(PAIR, ANSWER, asked_at=clock())

    assert cache.get(PAIR) is ANSWER


def test_a_reset_drops_everything_also_what_is_on_its_way(cache: Cache, clock: Clock) -> None:
    """After a reset neither kept answers nor those to questions asked before it are used."""
    cache.put(PAIR, ANSWER, asked_at=clock())
    clock.wait(0.1)
    cache.drop_all()

    assert (0, None) == (len(cache), cache.get(PAIR))

    cache.put(PAIR, ANSWER, asked_at=clock() - 0.1)

    assert cache.get(PAIR) is None

    clock.wait(0.1)
    cache.put(PAIR, ANSWER, asked_at=clock())

    assert cache.get(PAIR) is ANSWER


def test_the_least_recently_used_goes_first(cache: Cache, clock: Clock) -> None:
    """A full cache forgets what was not used for the longest time."""
    for number in range(3):
        cache.put((f"user_{number}", "org"), ANSWER, asked_at=clock())
    cache.get(("user_0", "org"))
    cache.put(("user_3", "org"), ANSWER, asked_at=clock())

    assert [True, False, True, True] == [cache.get((f"user_{n}", "org")) is not None for n in range(4)]


def test_a_size_of_zero_keeps_nothing(clock: Clock) -> None:
    """A cache of size 0 answers nothing."""
    cache = Cache(size=0, ttl_s=300, now=clock)
    clock.wait(1)
    cache.put(PAIR, ANSWER, asked_at=clock())

    assert (0, None) == (len(cache), cache.get(PAIR))


def test_a_flood_of_removals_is_bounded() -> None:
    """What is remembered of removals stays bounded, and a flood of them is taken for a reset."""
    clock = Clock()
    cache = Cache(size=1000, ttl_s=300, now=clock)
    clock.wait(1)
    cache.put(PAIR, ANSWER, asked_at=clock())
    clock.wait(0.1)
    asked_at = clock()
    clock.wait(0.1)
    for number in range(0, 100_000, 100):
        cache.drop([(f"user_{number + n}", "org") for n in range(100)])
        clock.wait(0.001)

        assert len(cache._pairs) <= 1000

    cache.put(("user_0", "org"), ANSWER, asked_at=asked_at)

    assert (None, None) == (cache.get(PAIR), cache.get(("user_0", "org")))


def test_removals_are_forgotten_in_time(cache: Cache, clock: Clock) -> None:
    """A removal is remembered for as long as an answer older than it could be kept, and no longer than that."""
    cache.drop([PAIR, ("user_9", ""), ("", "org_9")])
    clock.wait(300)
    cache.drop([("user_2", "org_2")])

    assert (2, 1, 1) == (len(cache._pairs), len(cache._users), len(cache._organizations))

    clock.wait(1)
    cache.drop([("user_3", "org_3")])

    assert (2, 0, 0) == (len(cache._pairs), len(cache._users), len(cache._organizations))


def test_it_never_answers_what_was_removed() -> None:  # noqa: PLR0912
    """Over random questions, answers that take their time, removals and silence, no answer outlives its subject."""
    for seed in range(200):
        chance = random.Random(seed)
        clock = Clock()
        cache = Cache(size=5, ttl_s=30, now=clock)
        clock.wait(1)
        users, organizations = ["user_1", "user_2"], ["org_1", "org_2"]
        gone_at: dict[tuple[str, str], float] = {}
        on_their_way: list[tuple[tuple[str, str], float]] = []
        for _ in range(200):
            clock.wait(chance.choice([0.001, 0.1, 1.0, 4.0]))
            key = (chance.choice(users), chance.choice(organizations))
            match chance.randrange(6):
                case 0 | 1:
                    on_their_way.append((key, clock()))
                case 2 if on_their_way:
                    asked, asked_at = on_their_way.pop(chance.randrange(len(on_their_way)))
                    cache.put(asked, ANSWER, asked_at=asked_at)
                case 3:
                    removed = chance.choice([key, (key[0], ""), ("", key[1])])
                    cache.drop([removed])
                    for user in users:
                        for organization in organizations:
                            if removed in ((user, organization), (user, ""), ("", organization)):
                                gone_at[user, organization] = clock()
                case 4:
                    cache.heard()
                case 5 if chance.random() < 0.1:
                    cache.drop_all()
            for user in users:
                for organization in organizations:
                    if cache.get((user, organization)) is not None:
                        asked_at = cache._kept[user, organization][0]

                        assert asked_at > gone_at.get((user, organization), 0.0)
                        assert clock() - asked_at < 30
                        assert clock() - max(asked_at, cache._heard_at) < SILENCE_S


def test_other_threads_may_read() -> None:
    """Reading while another thread fills and empties the cache raises nothing."""
    cache = Cache(size=50, ttl_s=300)
    problems: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        chance = random.Random(1)
        try:
            while not stop.is_set():
                cache.get((f"user_{chance.randrange(100)}", "org"))
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(30_000):
        cache.put((f"user_{number % 100}", "org"), ANSWER, asked_at=cache._now())
        if number % 10 == 0:
            cache.drop([(f"user_{number % 97}", "org")])
    stop.set()
    for reader in readers:
        reader.join()

    assert [] == problems
