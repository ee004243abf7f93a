"""Asking: one call for what many want, batches, deadlines, and errors that say what they mean."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

import clerksync
from clerksync import SyncClient
from clerksync.batching import MAX_ITEMS, MAX_WAITING
from clerksync.testing import FakeSyncService
from client.waiting import in_step, until

UNARY, BATCH = "EnsureUserProfile", "BatchEnsureUserProfiles"


def seconds_ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


async def test_a_profile_is_made_once_and_then_kept(client: SyncClient, fake: FakeSyncService) -> None:
    """The first call makes the profile and says so, the next one is answered from the cache."""
    first = await client.ensure_user_profile("user_1", "org_1", seconds_ago(1))
    second = await client.ensure_user_profile("user_1", "org_1", seconds_ago(1))

    assert (True, False) == (first.created, second.created)
    assert first.profile == second.profile == fake.profile("user_1", "org_1")
    assert first.profile.is_provisional
    assert [(UNARY, 1)] == fake.calls
    assert (1, 1, 1) == (client.stats.misses, client.stats.hits, client.stats.calls)


async def test_a_profile_has_all_its_values(client: SyncClient, fake: FakeSyncService) -> None:
    """Role, membership and times of a profile come as Python values."""
    fake.join("user_1", "org_1", role="org:admin")
    profile = (await client.ensure_user_profile("user_1", "org_1")).profile

    assert ("user_1", "org_1", "org:admin", False) == (
        profile.clerk_user_id,
        profile.clerk_org_id,
        profile.role,
        profile.is_provisional,
    )
    assert timedelta(seconds=10) > datetime.now(UTC) - profile.created_at
    assert profile.updated_at >= profile.created_at


async def test_organizations_are_made_and_kept(client: SyncClient, fake: FakeSyncService) -> None:
    """An organization is made as a placeholder, and kept beside a profile of the same name."""
    first = await client.ensure_organization("org_1")
    second = await client.ensure_organization("org_1")

    assert (True, False) == (first.created, second.created)
    assert first.organization == fake.organization_row("org_1")
    assert first.organization.is_placeholder
    assert [("EnsureOrganization", 1)] == fake.calls


@pytest.mark.parametrize("form", [datetime.timestamp, lambda moment: int(moment.timestamp()), lambda moment: moment])
async def test_the_time_of_issue_may_be_a_datetime_or_the_iat(
    client: SyncClient, fake: FakeSyncService, form: "object"
) -> None:
    """A token from before a removal is refused, in whatever form its time is given."""
    fake.join("user_1", "org_1")
    fake.remove("user_1", "org_1")

    with pytest.raises(clerksync.MembershipRemoved):
        await client.ensure_user_profile("user_1", "org_1", form(seconds_ago(5)))  # type: ignore[operator]


async def test_a_hundred_at_once_are_one_call(client: SyncClient, fake: FakeSyncService) -> None:
    """Of a hundred simultaneous misses of one pair one asks, and all have its answer."""
    issued_at = seconds_ago(1)
    with fake.slow(0.05):
        answers = await asyncio.gather(*(client.ensure_user_profile("user_1", "org_1", issued_at) for _ in range(100)))

    assert [(UNARY, 1)] == fake.calls
    assert 1 == len({answer.profile.id for answer in answers})
    assert (100, 99) == (client.stats.misses, client.stats.coalesced)


async def test_what_waits_travels_together(client: SyncClient, fake: FakeSyncService) -> None:
    """Misses of different pairs that come while a call is on its way leave in one batch when it has returned."""
    with fake.slow(0.1):
        first = asyncio.create_task(client.ensure_user_profile("user_0", "org_1"))
        await until(lambda: fake.calls == [(UNARY, 1)])
        others = [asyncio.create_task(client.ensure_user_profile(f"user_{n}", "org_1")) for n in range(1, 51)]
        answers = await asyncio.gather(first, *others)

    assert [(UNARY, 1), (BATCH, 50)] == fake.calls
    assert [f"user_{n}" for n in range(51)] == [answer.profile.clerk_user_id for answer in answers]


async def test_a_lone_call_waits_for_nobody(client: SyncClient, fake: FakeSyncService) -> None:
    """Calls one after the other leave at once, each alone."""
    for number in range(20):
        await client.ensure_user_profile(f"user_{number}", "org_1")

    assert [(UNARY, 1)] * 20 == fake.calls


async def test_batches_are_bounded(client: SyncClient, fake: FakeSyncService) -> None:
    """More misses than fit into one batch travel in several."""
    answers = await asyncio.gather(*(client.ensure_user_profile(f"user_{n}", "org_1") for n in range(2500)))

    assert {BATCH} == {call.method for call in fake.calls}
    assert (3, 2500) == (len(fake.calls), sum(call.items for call in fake.calls))
    assert all(call.items <= MAX_ITEMS for call in fake.calls)
    assert 2500 == len({answer.profile.id for answer in answers})


async def test_one_that_is_refused_fails_alone(client: SyncClient, fake: FakeSyncService) -> None:
    """In a batch the removed are refused and the others have their profiles."""
    fake.delete_user("user_3")
    answers = await asyncio.gather(
        *(client.ensure_user_profile(f"user_{n}", "org_1") for n in range(5)), return_exceptions=True
    )

    assert [(BATCH, 5)] == fake.calls
    assert [type(answer).__name__ for answer in answers] == [
        "EnsuredUserProfile" if n != 3 else "UserDeleted" for n in range(5)
    ]


@pytest.mark.parametrize("bad", ["", "with space", "x" * 256, "é", "\ud800", "line\nbreak", None, 5])
async def test_what_is_ill_formed_never_travels(client: SyncClient, fake: FakeSyncService, bad: object) -> None:
    """An ill-formed id is refused by name before it could spoil a batch."""
    answers = await asyncio.gather(
        client.ensure_user_profile("user_1", "org_1"),
        client.ensure_user_profile(bad, "org_1"),  # type: ignore[arg-type]
        client.ensure_user_profile("user_1", bad),  # type: ignore[arg-type]
        client.ensure_user_profile("user_2", "org_1"),
        client.ensure_organization(bad),  # type: ignore[arg-type]
        return_exceptions=True,
    )

    assert [(BATCH, 2)] == fake.calls
    assert [None, ["clerk_user_id"], ["clerk_org_id"], None, ["clerk_org_id"]] == [
        list(answer.violations) if isinstance(answer, clerksync.InvalidRequest) else None for answer in answers
    ]


@pytest.mark.parametrize("bad", ["yesterday", datetime(2026, 1, 1), float("nan"), 1e300, 10**400, [], b""])  # noqa: DTZ001
async def test_a_time_that_is_none_is_refused_by_name(client: SyncClient, fake: FakeSyncService, bad: object) -> None:
    """A time of issue that is no time never travels."""
    with pytest.raises(clerksync.InvalidRequest, match="token_issued_at: is no time"):
        await client.ensure_user_profile("user_1", "org_1", bad)  # type: ignore[arg-type]

    assert [] == fake.calls


@pytest.mark.parametrize("form", [float, int, lambda seconds: datetime.fromtimestamp(seconds, UTC)])
async def test_a_token_from_the_future(client: SyncClient, fake: FakeSyncService, form: "object") -> None:
    """A token may come from up to a day in the future, as of a clock that is fast; a later one never travels."""
    early, late = (form(time.time() + hours * 3600) for hours in (23, 25))  # type: ignore[operator]
    await client.ensure_user_profile("user_1", "org_1", early)
    await client.ensure_organization("org_2", early)
    calls = fake.calls

    with pytest.raises(clerksync.InvalidRequest, match="token_issued_at: lies more than a day in the future"):
        await client.ensure_user_profile("user_2", "org_1", late)
    with pytest.raises(clerksync.InvalidRequest, match="token_issued_at: lies more than a day in the future"):
        await client.ensure_organization("org_3", late)
    assert (2, calls) == (len(calls), fake.calls)


async def test_what_the_service_finds_ill_formed_names_the_field(client: SyncClient) -> None:
    """A time in milliseconds is sent, and what SyncService says of it is told with the field's name."""
    with pytest.raises(clerksync.InvalidRequest) as caught:
        await client.ensure_user_profile("user_1", "org_1", time.time() + 3 * 86_400)

    assert ["token_issued_at"] == list(caught.value.violations)


async def test_a_later_token_is_not_answered_by_an_earlier_one(client: SyncClient, fake: FakeSyncService) -> None:
    """Two simultaneous calls for a pair, one with a token from before a removal and one from after, are told apart."""
    fake.join("user_1", "org_1", at=seconds_ago(100))
    fake.remove("user_1", "org_1", at=seconds_ago(50))
    with fake.slow(0.1):
        old = asyncio.create_task(client.ensure_user_profile("user_1", "org_1", seconds_ago(60)))
        await until(lambda: len(fake.calls) == 1)
        new = asyncio.create_task(client.ensure_user_profile("user_1", "org_1", seconds_ago(10)))
        outcomes = await asyncio.gather(old, new, return_exceptions=True)

    assert ["MembershipRemoved", "EnsuredUserProfile"] == [type(outcome).__name__ for outcome in outcomes]


async def test_a_call_that_takes_too_long_fails_in_time_and_is_kept_all_the_same(
    client: SyncClient, fake: FakeSyncService
) -> None:
    """Who waits no longer than 50 ms is told after 50 ms; the answer that comes later is there for the next one."""
    with fake.slow(0.3):
        started = time.monotonic()
        with pytest.raises(clerksync.DeadlineExceeded):
            await client.ensure_user_profile("user_1", "org_1", timeout_s=0.05)

        assert 0.05 <= time.monotonic() - started < 0.25

        await until(lambda: client.kept_user_profile("user_1", "org_1") is not None)

    assert [(UNARY, 1)] == fake.calls
    assert {"deadline_exceeded": 1} == dict(client.stats.failures)


async def test_a_batch_that_is_stuck_does_not_hold_up_the_others_for_long(
    client: SyncClient, fake: FakeSyncService
) -> None:
    """While one call hangs, a miss that comes a moment later is sent past it."""
    with fake.freeze():
        stuck = asyncio.create_task(client.ensure_user_profile("user_1", "org_1"))
        await until(lambda: len(fake.calls) == 1)
        await asyncio.sleep(0.15)
        past = asyncio.create_task(client.ensure_user_profile("user_2", "org_1"))
        await until(lambda: len(fake.calls) == 2)
    await asyncio.gather(stuck, past)


async def test_who_waits_is_bounded(fake: FakeSyncService) -> None:
    """A flood of misses against a frozen SyncService is refused beyond the bound, at once."""
    async with SyncClient(fake.target, timeout_s=0.5) as client:
        await in_step(client)
        with fake.freeze():
            outcomes = await asyncio.gather(
                *(client.ensure_user_profile(f"user_{n}", "org_1") for n in range(MAX_WAITING + 500)),
                return_exceptions=True,
            )
            failures = client.stats.failures

    assert {"DeadlineExceeded", "Unavailable"} == {type(outcome).__name__ for outcome in outcomes}
    assert {"deadline_exceeded": MAX_WAITING, "unavailable": 500} == dict(failures)


async def test_unavailable_is_tried_again(client: SyncClient, fake: FakeSyncService) -> None:
    """A call that meets UNAVAILABLE is tried three times in all, and then fails as Unavailable."""
    with fake.away(), pytest.raises(clerksync.Unavailable):
        await client.ensure_user_profile("user_1", "org_1")

    assert [(UNARY, 1)] * 3 == fake.calls


async def test_what_is_broken_is_not_tried_again(client: SyncClient, fake: FakeSyncService) -> None:
    """INTERNAL fails at once as CallFailed, which is none of the errors that come from waiting."""
    with fake.broken(), pytest.raises(clerksync.CallFailed) as caught:
        await client.ensure_user_profile("user_1", "org_1")

    assert "INTERNAL" == caught.value.code
    assert [(UNARY, 1)] == fake.calls


async def test_ready_means_that_answers_are_kept(fake: FakeSyncService) -> None:
    """After `ready` the very first answer is kept; if nobody is there it says so in time."""
    async with SyncClient(fake.target) as client:
        assert await client.ready()
        await client.ensure_user_profile("user_1", "org_1")
        await client.ensure_user_profile("user_1", "org_1")
    with fake.stopped():
        async with SyncClient(fake.target) as client:
            assert not await client.ready(within_s=0.2)

    assert [(UNARY, 1)] == fake.calls


async def test_it_connects_again(client: SyncClient, fake: FakeSyncService) -> None:
    """Where SyncService was stopped calls fail as Unavailable, and soon after it is back they succeed."""
    with fake.stopped(), pytest.raises(clerksync.Unavailable):
        await client.ensure_user_profile("user_1", "org_1")

    async with asyncio.timeout(4):
        while True:
            try:
                await client.ensure_user_profile("user_1", "org_1")
                break
            except clerksync.Unavailable:
                await asyncio.sleep(0.05)


async def test_the_cache_is_bounded(fake: FakeSyncService) -> None:
    """A flood of different pairs leaves no more answers than the size of the cache."""
    async with SyncClient(fake.target, cache_size=100) as client:
        for start in range(0, 3000, 500):
            await asyncio.gather(*(client.ensure_user_profile(f"user_{start + n}", "org_1") for n in range(500)))

        assert 100 == client.kept


async def test_closing_ends_what_waits(fake: FakeSyncService) -> None:
    """Whoever waits when the client is closed is told so, and so is whoever asks afterwards."""
    client = SyncClient(fake.target)
    with fake.freeze():
        waiting = [asyncio.create_task(client.ensure_user_profile(f"user_{n}", "org_1")) for n in range(3)]
        await until(lambda: len(fake.calls) == 1)
        waiting.append(asyncio.create_task(client.ensure_user_profile("user_9", "org_1")))
        await asyncio.sleep(0.01)
        await client.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert [clerksync.ClientClosed] * 4 == [type(outcome) for outcome in outcomes]
    with pytest.raises(clerksync.ClientClosed):
        await client.ensure_user_profile("user_1", "org_1")
    assert client.kept_user_profile("user_1", "org_1") is None


@pytest.mark.parametrize(
    ("options", "name"),
    [({"timeout_s": 0}, "timeout_s"), ({"cache_size": -1}, "cache_size"), ({"cache_ttl_s": 0}, "cache_ttl_s")],
)
def test_options_that_make_no_sense_are_refused_by_name(options: clerksync.ClientOptions, name: str) -> None:
    """A bad option is refused when the client is made."""
    with pytest.raises(ValueError, match=name):
        SyncClient("127.0.0.1:1", **options)
    with pytest.raises(ValueError, match="target"):
        SyncClient("")
