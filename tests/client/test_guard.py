"""The policy: what a request does with the answer, or without one."""

import asyncio
import logging
import time
from datetime import UTC, datetime

import pytest

import clerksync
from clerksync import Identity, SyncClient, blocking
from clerksync.breaker import CircuitBreaker
from clerksync.policy import GO_ON, Attempt, Guard, Policy
from clerksync.stats import ClientStats
from clerksync.testing import FakeSyncService
from client.rows import Clock, ensured
from client.waiting import until

MEMBER = Identity("user_1", "org_1")


async def test_nobody_asks_for_nobody(client: SyncClient, fake: FakeSyncService) -> None:
    """A request without a user and an organization goes on, and SyncService is not asked."""
    assert GO_ON == await Guard(client).check(None)
    assert [] == fake.calls


async def test_a_member_gets_the_profile(client: SyncClient, fake: FakeSyncService) -> None:
    """A member's request has the profile, from SyncService first and from the cache then."""
    guard = Guard(client)

    for _ in range(3):
        decision = await guard.check(MEMBER)

        assert (fake.profile("user_1", "org_1"), False) == (decision.profile, decision.denied)
    assert 1 == len(fake.calls)


@pytest.mark.parametrize("on_removed", ["refuse", "continue"])
async def test_the_removed_are_denied_or_let_pass(
    client: SyncClient, fake: FakeSyncService, on_removed: "object"
) -> None:
    """A definite answer denies the request, unless the service wants to decide for itself; it always sees why."""
    fake.delete_organization("org_1")
    guard = Guard(client, on_removed=on_removed, budget_s=5)  # type: ignore[arg-type]
    decision = await guard.check(MEMBER)

    assert (None, on_removed == "refuse") == (decision.profile, decision.denied)
    assert isinstance(decision.refusal, clerksync.OrganizationDeleted)
    assert "organization_deleted" == decision.denial["error"]["code"]
    assert {"ORGANIZATION_DELETED": 1} == dict(client.stats.refusals)


@pytest.mark.parametrize("trouble", ["slow", "away", "broken", "freeze", "stopped"])
async def test_trouble_never_holds_a_request_up(
    client: SyncClient, fake: FakeSyncService, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While SyncService is in trouble every request goes on within its budget; one log line tells, counters count."""
    guard = Guard(client, budget_s=0.05)
    with fake.slow(0.4) if trouble == "slow" else getattr(fake, trouble)():
        for number in range(20):
            started = time.monotonic()
            decision = await guard.check(Identity(f"user_{number}", "org_1"))

            assert 0.25 > time.monotonic() - started
            assert GO_ON == decision
    lines = [record.getMessage() for record in caplog.records if record.name == "clerksync"]

    assert 1 == len(lines)
    assert "went on without a profile" in lines[0]
    assert "user_" not in lines[0]
    assert 20 == sum(client.stats.unanswered.values())
    if trouble != "slow":  # Late answers are answers.
        assert 1 <= client.stats.unanswered["circuit_open"]


async def test_what_is_kept_needs_nobody(client: SyncClient, fake: FakeSyncService) -> None:
    """While SyncService is away requests of those who are kept have their profiles still, for a few seconds."""
    guard = Guard(client)
    await guard.check(MEMBER)
    with fake.away():
        assert fake.profile("user_1", "org_1") == (await guard.check(MEMBER)).profile


async def test_asking_resumes_by_itself(client: SyncClient, fake: FakeSyncService) -> None:
    """A while after the trouble is over requests have profiles again."""
    guard = Guard(client)
    with fake.broken():
        for number in range(10):
            await guard.check(Identity(f"user_{number}", "org_1"))

    assert 3 == len(fake.calls)

    async with asyncio.timeout(3):
        while (await guard.check(MEMBER)).profile is None:
            await asyncio.sleep(0.05)


async def test_a_request_that_goes_away_leaves_the_breaker_usable(client: SyncClient, fake: FakeSyncService) -> None:
    """If the one request that is let through to try is cancelled, another one may try."""
    guard = Guard(client, budget_s=0.5)
    with fake.broken():
        for number in range(10):
            await guard.check(Identity(f"user_{number}", "org_1"))
    await asyncio.sleep(1.05)
    with fake.freeze():
        tried = len(fake.calls)
        request = asyncio.create_task(guard.check(MEMBER))
        await until(lambda: len(fake.calls) > tried)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    async with asyncio.timeout(2):
        # The call that it has made goes on, and its answer closes the breaker.
        while (await guard.check(MEMBER)).profile is None:
            await asyncio.sleep(0.01)


async def test_an_identity_that_is_ill_formed_goes_on_and_opens_nothing(
    client: SyncClient, fake: FakeSyncService
) -> None:
    """A broken identify costs its own requests the profile, and nobody else theirs."""
    guard = Guard(client)
    for _ in range(20):
        assert GO_ON == await guard.check(Identity("user 1", "org_1"))

    assert (await guard.check(MEMBER)).profile is not None
    assert {"invalid_request": 20} == dict(client.stats.unanswered)


async def test_a_closed_client_lets_requests_go_on(fake: FakeSyncService) -> None:
    """After the client was closed requests go on without profiles."""
    client = SyncClient(fake.target)
    await client.close()

    assert GO_ON == await Guard(client).check(MEMBER)


def test_the_wrong_client_is_refused() -> None:
    """A client for threads in an asyncio service, or the other way round, is refused when the guard is made."""
    with pytest.raises(TypeError, match=r"expected a clerksync\.SyncClient"):
        Guard(blocking.SyncClient("127.0.0.1:1"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected a clerksync\.blocking\.SyncClient"):
        blocking.Guard(SyncClient("127.0.0.1:1"))  # type: ignore[arg-type]


async def test_a_token_that_proves_nothing_denies_nobody(client: SyncClient, fake: FakeSyncService) -> None:
    """A refusal that tells of no removal lets the request go on without a profile, and is counted."""
    decision = await Guard(client, budget_s=5).check(Identity("user_1", "org_1", datetime(2020, 1, 1, tzinfo=UTC)))

    assert (None, False) == (decision.profile, decision.denied)
    assert isinstance(decision.refusal, clerksync.EvidenceTooOld)
    assert {"refused": 1} == dict(client.stats.unanswered)


def test_the_log_tells_how_many_went_on(caplog: pytest.LogCaptureFixture) -> None:
    """After ten seconds a second line counts the requests since the first."""
    clock = Clock()
    policy = Policy(ClientStats(), CircuitBreaker(), budget_s=0.05, on_removed="refuse", now=clock)
    with caplog.at_level(logging.WARNING, "clerksync"):
        for _ in range(7):
            policy.unanswered(clerksync.Unavailable("no answer"))
        clock.wait(10)
        policy.unanswered(clerksync.Unavailable("no answer"))

    assert ["(1 requests)", "(7 requests)"] == [message[-12:] for message in caplog.messages]


def test_a_defect_of_ours_goes_on_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody foresaw lets the request go on; its text, which may hold anything, stays out of the log."""
    policy = Policy(ClientStats(), CircuitBreaker(), budget_s=0.05, on_removed="refuse", now=Clock())
    attempt = policy.begin(blocking.SyncClient("127.0.0.1:1"), MEMBER)
    assert isinstance(attempt, Attempt)
    with attempt:
        raise KeyError("user_secret")

    assert GO_ON == attempt.decision
    assert "KeyError" in caplog.text
    assert "user_secret" not in caplog.text


def test_an_answer_is_a_decision() -> None:
    """What was answered is what the request gets."""
    policy = Policy(ClientStats(), CircuitBreaker(), budget_s=0.05, on_removed="refuse", now=Clock())
    attempt = policy.begin(blocking.SyncClient("127.0.0.1:1"), MEMBER)
    assert isinstance(attempt, Attempt)
    with attempt:
        attempt.ensured = ensured()

    assert ensured().profile == attempt.decision.profile


@pytest.mark.parametrize(("option", "value"), [("budget_s", 0), ("budget_s", 100), ("on_removed", "deny")])
def test_options_that_make_no_sense_are_refused_by_name(option: str, value: object) -> None:
    """A bad option is refused when the guard is made."""
    with pytest.raises(ValueError, match=option):
        Guard(SyncClient("127.0.0.1:1"), **{option: value})  # type: ignore[arg-type]
