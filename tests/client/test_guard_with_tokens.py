"""What becomes of a request whose session token is refused: nothing that its user sends undoes a removal."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bodies
import pytest
from stack import Stack, now_ms
from tokens import ORG, USER, Signer, session_claims

from clerksync import Identity, SyncClient, blocking
from clerksync.policy import MOST_TOKENS, Decision, Guard

SIGNER = Signer()
MUST_PROVE = '[[callers]]\nidentity = "anonymous"\nroles = ["front", "sibling"]\nmust_prove_sessions = true\n'

Start = Callable[..., Any]


@pytest.fixture(params=[True, False], ids=["trusted", "must prove"])
def trusted(request: pytest.FixtureRequest) -> bool:
    """Whether SyncService takes the caller's word."""
    return bool(request.param)


@pytest.fixture
def good() -> str:
    """A token of this moment: they are good for a minute."""
    return SIGNER.sign(session_claims())


def forged(good: str, number: int) -> list[str]:
    """They say what the good one says, as whoever has that can make them say."""
    return [f"{good}{each}" for each in range(number)]


@pytest.fixture
async def verifying(trusted: bool, start_stack: Start, tmp_path: Path) -> Stack:
    policy = tmp_path / "policy.toml"
    policy.write_text(MUST_PROVE)
    more = {} if trusted else {"CLERKSYNC_POLICY_FILE": str(policy)}
    stack: Stack = await start_stack(CLERK_JWT_KEY=SIGNER.pem, **more)
    return stack


async def removed(stack: Stack) -> None:
    t = now_ms() + 5_000
    assert 200 == (await stack.post(bodies.membership("deleted", USER, ORG, at=t, joined_at=t - 60_000))).status


async def checked(stack: Stack, *tokens: str) -> Decision:
    """By either guard, with these tokens found in the request."""
    async with SyncClient(stack.target, cache_size=0) as client:
        decision = await Guard(client, budget_s=10).check(Identity(USER, ORG), lambda: tokens)
    with blocking.SyncClient(stack.target, cache_size=0) as threaded:
        check = blocking.Guard(threaded, budget_s=10).check
        same = await asyncio.to_thread(check, Identity(USER, ORG), lambda: tokens)
    assert (decision.denied, str(decision.refusal)) == (same.denied, str(same.refusal))
    return decision


def outcome(decision: Decision) -> tuple[bool, str | None]:
    return decision.denied, decision.refusal.reason if decision.refusal else None


@pytest.mark.parametrize(
    ("before", "after"),
    [(0, 0), (1, 0), (0, 1), (MOST_TOKENS - 1, 0)],
    ids=["good", "forged, good", "good, forged", "many forged, good"],
)
async def test_forged_tokens_undo_no_removal(verifying: Stack, good: str, before: int, after: int) -> None:
    """Who was removed is denied whatever else the request carries, also by a service that has to prove sessions."""
    await removed(verifying)

    assert (True, "MEMBERSHIP_REMOVED") == outcome(
        await checked(verifying, *forged(good, before), good, *forged(good, after))
    )


async def test_the_good_token_cannot_be_hidden(verifying: Stack, trusted: bool, good: str) -> None:
    """More tokens than anybody sends that say the same are not all tried; the request is denied all the same."""
    await removed(verifying)

    denied, reason = outcome(await checked(verifying, *forged(good, MOST_TOKENS + 1), good))

    assert denied
    assert ("MEMBERSHIP_REMOVED" if trusted else "SESSION_TOKEN_INVALID") == reason


@pytest.mark.parametrize("number", [0, 1], ids=["none", "forged"])
async def test_without_a_good_token(verifying: Stack, trusted: bool, good: str, number: int) -> None:
    """A service whose word is taken is asked as without tokens; one that has to prove sessions learns of no removal."""
    await removed(verifying)

    unproven = (False, "SESSION_TOKEN_INVALID" if number else "SESSION_TOKEN_MISSING")
    assert ((True, "MEMBERSHIP_REMOVED") if trusted else unproven) == outcome(
        await checked(verifying, *forged(good, number))
    )


async def test_a_wrong_key_locks_nobody_out(verifying: Stack, trusted: bool) -> None:
    """Where every token is refused members go on: with a profile, unless the service has to prove sessions."""
    token = Signer().sign(session_claims())

    decision = await checked(verifying, token)

    assert not decision.denied
    assert trusted is (decision.profile is not None)


async def test_bad_tokens_of_some_do_not_keep_others_from_asking(verifying: Stack, good: str) -> None:
    """Any number of refused tokens opens no circuit breaker; each refusal is counted."""
    async with SyncClient(verifying.target) as client:
        guard = Guard(client, budget_s=10)
        for number in range(10):
            await guard.check(Identity(f"user_{number}", ORG, session_token=f"{good}x"))
        of_good = await guard.check(Identity(USER, ORG, session_token=good))

        assert of_good.profile is not None
        assert 10 == client.stats.refusals["SESSION_TOKEN_INVALID"]


async def test_an_ill_formed_token_is_no_way_round(verifying: Stack, trusted: bool) -> None:
    """What an identity brings and is no token counts as one that is refused."""
    await removed(verifying)
    async with SyncClient(verifying.target) as client:
        decision = await Guard(client, budget_s=10).check(Identity(USER, ORG, session_token="é"))

    assert trusted is decision.denied


async def test_kept_answers_need_no_token(start_stack: Start, good: str) -> None:
    """Where the answer is kept nobody looks for tokens, and where it is not the identity's own goes first."""
    stack = await start_stack(CLERK_JWT_KEY=SIGNER.pem)

    def find() -> list[str]:
        raise AssertionError

    async with SyncClient(stack.target) as client:
        assert await client.ready()
        guard = Guard(client, budget_s=10)
        for _ in range(2):
            assert (await guard.check(Identity(USER, ORG, session_token=good), find)).profile is not None
        assert (await guard.check(Identity(USER, ORG), find)).profile is not None
        assert (2, 1) == (client.stats.hits, client.stats.calls)
