"""The client passes session tokens on, and keeps apart who has one and who has none."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from stack import Stack
from tokens import ORG, USER, Signer, session_claims

import clerksync
from clerksync import SyncClient, blocking
from clerksync.batching import Batcher, Question
from clerksync.testing import FakeSyncService

SIGNER = Signer()
T = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
async def verifying(start_stack: Callable[..., Any]) -> Stack:
    started: Stack = await start_stack(CLERK_JWT_KEY=SIGNER.pem)
    return started


async def test_tokens_are_verified_alone_and_in_batches(verifying: Stack) -> None:
    """Each question carries its own token, and an answer that is kept needs none."""
    async with SyncClient(verifying.target) as client:
        profiles = await asyncio.gather(
            *(
                client.ensure_user_profile(
                    f"user_{number}", ORG, session_token=SIGNER.sign(session_claims(sub=f"user_{number}"))
                )
                for number in range(20)
            )
        )
        organization = await client.ensure_organization(ORG, session_token=SIGNER.sign(session_claims()))

    assert [f"user_{number}" for number in range(20)] == [ensured.profile.clerk_user_id for ensured in profiles]
    assert ORG == organization.organization.clerk_org_id


async def test_a_refused_token_is_an_error_of_its_own(verifying: Stack) -> None:
    """It tells why, alone and in a batch, also without asyncio, and is counted by its reason."""
    stranger, eve = Signer().sign(session_claims()), SIGNER.sign(session_claims(sub="user_eve"))
    async with SyncClient(verifying.target) as client:
        outcomes = [
            *await asyncio.gather(
                client.ensure_user_profile(USER, ORG, session_token=stranger), return_exceptions=True
            ),
            *await asyncio.gather(
                client.ensure_user_profile(USER, ORG, session_token=stranger),
                client.ensure_user_profile("user_bob", ORG, session_token=eve),
                return_exceptions=True,
            ),
        ]
        refusals = dict(client.stats.refusals)
    with blocking.SyncClient(verifying.target) as threaded, pytest.raises(clerksync.SessionTokenRefused) as caught:
        await asyncio.to_thread(threaded.ensure_organization, "org_other", session_token=eve)

    assert ["SESSION_TOKEN_INVALID", "SESSION_TOKEN_INVALID", "SESSION_TOKEN_MISMATCH"] == [
        outcome.reason for outcome in outcomes if isinstance(outcome, clerksync.SessionTokenRefused)
    ]
    assert {"SESSION_TOKEN_INVALID": 2, "SESSION_TOKEN_MISMATCH": 1} == refusals
    assert "SESSION_TOKEN_MISMATCH" == caught.value.reason


@pytest.mark.parametrize("token", ["", "a b", "é.b.c", "x" * 8193, 17, b"a.b.c"])
async def test_an_ill_formed_token_does_not_travel(token: Any, client: SyncClient, fake: FakeSyncService) -> None:
    """It could spoil a whole batch, so it is refused here, and is not repeated."""
    with pytest.raises(clerksync.InvalidRequest) as caught:
        await client.ensure_user_profile(USER, ORG, session_token=token)

    assert ["session_token"] == list(caught.value.violations)
    assert [] == fake.calls


async def test_the_fake_takes_any_token(client: SyncClient, fake: FakeSyncService) -> None:
    """It has nothing to verify them with, so tests of services need no keys."""
    fake.join(USER, ORG)

    assert USER == (await client.ensure_user_profile(USER, ORG, session_token="a.b.c")).profile.clerk_user_id


class Service:
    """Remembers what was sent, and answers nothing."""

    def __init__(self) -> None:
        self.batches: list[list[Question]] = []
        self.go = asyncio.Event()

    async def __call__(self, questions: Any) -> list[clerksync.ClerksyncError]:
        self.batches.append(list(questions))
        await self.go.wait()
        return [clerksync.Unavailable("no")] * len(questions)


async def test_only_the_same_token_shares_a_question() -> None:
    """Of two tokens either may be refused, whatever both say, and so may one where a caller's word is taken."""
    service = Service()
    batcher = Batcher(service)
    batcher.ask(("user_0", ORG), None, ())
    await asyncio.sleep(0)
    key = (USER, ORG)

    for issued_at in (None, T):
        asked = [batcher.ask(key, issued_at, (), token) for token in (None, "a.b.forged", "a.b.good") * 2]

        assert [False, False, False, True, True, True] == [joined for _, joined in asked]
        assert [None, "a.b.forged", "a.b.good"] * 2 == [question.session_token for question, _ in asked]
    await batcher.close()


@pytest.mark.parametrize("length", [1_700, 8_192])
async def test_tokens_do_not_make_a_call_too_large(verifying: Stack, length: int) -> None:
    """SyncService has room for as many long tokens, and the longest ids, as travel in one call: it looks at each."""
    async with SyncClient(verifying.target, cache_size=0) as client:
        outcomes = await asyncio.gather(
            *(
                client.ensure_user_profile(f"{number:0>255}", "o" * 255, T, session_token="x" * length, timeout_s=60)
                for number in range(2_000)
            ),
            return_exceptions=True,
        )
        calls = client.stats.calls

    assert {"SESSION_TOKEN_INVALID"} == {getattr(outcome, "reason", str(outcome)) for outcome in outcomes}
    assert calls < 200, "they travel together all the same"
