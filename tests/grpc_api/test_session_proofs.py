"""Ensure calls that carry the end user's session token: what it proves counts, and nothing else."""

import asyncio
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import bodies
import grpc
import pytest
from google.rpc import error_details_pb2
from stack import Stack, error_info, now_ms, timestamp_of
from structlog.testing import capture_logs
from tokens import CLERK, ORG, USER, JwksServer, Signer, session_claims

from clerksync.v1 import sync_service_pb2
from clerksync_server.access.callers import Caller, set_present_caller
from clerksync_server.access.public_keys import keys_in_pem
from clerksync_server.access.session_tokens import SessionTokens
from clerksync_server.errors import ClerksyncError, SessionTokenProblem, SessionTokenRefused
from clerksync_server.grpc_api.proving import Proving
from clerksync_server.settings import InvalidSettings

SIGNER = Signer()
CREATED = sync_service_pb2.ENSURE_OUTCOME_CREATED
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture
async def verifying(start_stack: Callable[..., Any]) -> Stack:
    started: Stack = await start_stack(CLERK_JWT_KEY=SIGNER.pem, CLERKSYNC_CLERK_ISSUER=CLERK)
    return started


def profile_request(token: str, user: str = "", org: str = "", issued_at_ms: int | None = None) -> Any:
    return sync_service_pb2.EnsureUserProfileRequest(
        clerk_user_id=user,
        clerk_org_id=org,
        token_issued_at=None if issued_at_ms is None else timestamp_of(issued_at_ms),
        session_token=token,
    )


def organization_request(token: str) -> sync_service_pb2.EnsureOrganizationRequest:
    return sync_service_pb2.EnsureOrganizationRequest(session_token=token)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_info(caught.value).reason


async def test_the_token_alone_is_enough(verifying: Stack) -> None:
    """User, organization and time are taken from it, and the row notes the time as its evidence."""
    claims = session_claims()

    response = await verifying.sync.EnsureUserProfile(profile_request(SIGNER.sign(claims)), timeout=10)

    assert (CREATED, USER, ORG) == (
        response.outcome,
        response.user_profile.clerk_user_id,
        response.user_profile.clerk_org_id,
    )
    (row,) = await verifying.rows("select extract(epoch from evidence_at) * 1000 as e from user_profile")
    assert row["e"] == claims["iat"] * 1000


async def test_what_agrees_with_the_token_is_fine(verifying: Stack) -> None:
    """A caller may state all of it as well."""
    claims = session_claims()
    request = profile_request(SIGNER.sign(claims), USER, ORG, claims["iat"] * 1000)

    assert CREATED == (await verifying.sync.EnsureUserProfile(request, timeout=10)).outcome


@pytest.mark.parametrize(
    ("stated", "code", "reason"),
    [
        ({"user": "user_eve"}, DENIED, "SESSION_TOKEN_MISMATCH"),
        ({"org": "org_other"}, DENIED, "SESSION_TOKEN_MISMATCH"),
        ({"issued_at_ms": 0}, DENIED, "SESSION_TOKEN_MISMATCH"),
        ({"user": USER.upper()}, DENIED, "SESSION_TOKEN_MISMATCH"),
        ({"issued_at_ms": 10**18}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
async def test_what_differs_from_the_token_is_refused(
    stated: dict[str, Any], code: grpc.StatusCode, reason: str, verifying: Stack
) -> None:
    """No token of one user makes rows for another, nor for another organization or time; nothing is written."""
    request = profile_request(SIGNER.sign(session_claims()), **stated)

    assert (code, reason) == await refusal(verifying.sync.EnsureUserProfile(request, timeout=10))
    assert [] == await verifying.rows("select 1 from user_profile")


async def test_a_token_that_is_not_valid_is_refused(verifying: Stack) -> None:
    """Even where the row exists already, and neither answer nor log repeat anything of it."""
    await verifying.ensure_profile(USER, ORG, now_ms())
    token = Signer().sign(session_claims())

    with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError) as caught:
        await verifying.sync.EnsureUserProfile(profile_request(token, USER, ORG), timeout=10)

    assert (UNAUTHENTICATED, "SESSION_TOKEN_INVALID") == (caught.value.code(), error_info(caught.value).reason)
    told = f"{caught.value.details()} {lines}"
    assert not any(part in told for part in (*token.split("."), USER, ORG))


async def test_a_token_without_an_organization_proves_no_membership(verifying: Stack) -> None:
    """Somebody who is signed in with no organization active is nobody's member by that."""
    token = SIGNER.sign(session_claims(o=None))

    for org in ("", ORG):
        call = verifying.sync.EnsureUserProfile(profile_request(token, USER, org), timeout=10)
        assert (DENIED, "SESSION_TOKEN_MISMATCH") == await refusal(call)


async def test_a_token_from_before_a_removal_brings_nobody_back(verifying: Stack) -> None:
    """A valid token proves when it was issued; a removal since then stands."""
    t = now_ms()
    await verifying.post(bodies.organization("created", ORG, at=t - 9_000))
    await verifying.post(bodies.membership("deleted", USER, ORG, at=t, joined_at=t - 9_000))
    token = SIGNER.sign(session_claims(iat=t // 1000 - 5))

    call = verifying.sync.EnsureUserProfile(profile_request(token), timeout=10)

    assert (grpc.StatusCode.FAILED_PRECONDITION, "MEMBERSHIP_REMOVED") == await refusal(call)


async def test_in_a_batch_each_has_its_own_outcome(verifying: Stack) -> None:
    """Neither a bad token nor one of somebody else's spoils the rest, with tokens or without."""
    tokens = [SIGNER.sign(session_claims(sub=f"user_{number}")) for number in range(100)]
    requests = [
        profile_request("hunter2", USER, ORG),
        profile_request(tokens[0], USER, ORG),
        profile_request("", "user_trusted", ORG),
        *map(profile_request, tokens),
    ]
    batch = sync_service_pb2.BatchEnsureUserProfilesRequest(requests=requests)

    results = (await verifying.sync.BatchEnsureUserProfiles(batch, timeout=30)).results

    assert ["SESSION_TOKEN_INVALID", "SESSION_TOKEN_MISMATCH"] == [reason_of(result) for result in results[:2]]
    assert ["user_trusted", *(f"user_{number}" for number in range(100))] == [
        result.response.user_profile.clerk_user_id for result in results[2:]
    ]


def reason_of(result: sync_service_pb2.EnsureUserProfileResult) -> str:
    info = error_details_pb2.ErrorInfo()
    assert result.error.details[0].Unpack(info)
    return str(info.reason)


async def test_an_organization_is_proven_by_the_token_of_somebody_in_it(verifying: Stack) -> None:
    """The organization that is active in the token is the only one that may be asked for."""
    token = SIGNER.sign(session_claims())

    def request(org: str) -> Any:
        return sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=org, session_token=token)

    call = verifying.sync.EnsureOrganization(request("org_other"), timeout=10)
    assert (DENIED, "SESSION_TOKEN_MISMATCH") == await refusal(call)
    assert CREATED == (await verifying.sync.EnsureOrganization(request(ORG), timeout=10)).outcome
    assert ORG == (await verifying.sync.EnsureOrganization(request(""), timeout=10)).organization.clerk_org_id


async def test_without_a_key_no_token_is_believed(stack: Stack) -> None:
    """Where nothing is configured to verify tokens, a call with one is refused in words, and one without goes on."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.sync.EnsureUserProfile(profile_request(SIGNER.sign(session_claims()), USER, ORG), timeout=10)

    assert "SESSION_TOKEN_INVALID" == error_info(caught.value).reason
    assert "CLERK_JWT_KEY" in (caught.value.details() or "")
    assert CREATED == (await stack.ensure_profile(USER, ORG)).outcome


async def test_keys_are_there_when_the_service_is(start_stack: Callable[..., Any]) -> None:
    """With a JWKS the first call is answered already: it was looked up at the start, once for all calls."""
    async with JwksServer(SIGNER) as server:
        started: Stack = await start_stack(CLERKSYNC_CLERK_JWKS=server.url)
        for number in range(3):
            request = profile_request(SIGNER.sign(session_claims(sub=f"user_{number}")))
            assert CREATED == (await started.sync.EnsureUserProfile(request, timeout=10)).outcome
        assert 1 == server.asked


async def test_a_key_set_that_is_away_holds_up_nothing_else(start_stack: Callable[..., Any]) -> None:
    """SyncService starts and answers calls without tokens; those with tokens are to come again, alone or in a batch."""
    async with JwksServer(SIGNER) as server:
        pass
    started: Stack = await start_stack(CLERKSYNC_CLERK_JWKS=server.url)
    request = profile_request(SIGNER.sign(session_claims(sub="user_bob")))
    batch = sync_service_pb2.BatchEnsureUserProfilesRequest(requests=[request, profile_request("hunter2")])

    assert CREATED == (await started.ensure_profile(USER, ORG)).outcome
    unavailable = grpc.StatusCode.UNAVAILABLE, "KEYS_UNAVAILABLE"
    assert unavailable == await refusal(started.sync.EnsureUserProfile(request, timeout=10))
    results = (await started.sync.BatchEnsureUserProfiles(batch, timeout=10)).results
    assert ["KEYS_UNAVAILABLE", "SESSION_TOKEN_INVALID"] == [reason_of(result) for result in results]

    async with JwksServer(SIGNER, port=server.port), asyncio.timeout(15):
        while (result := (await started.sync.BatchEnsureUserProfiles(batch, timeout=10)).results[0]).HasField("error"):
            await asyncio.sleep(0.05)
    assert "user_bob" == result.response.user_profile.clerk_user_id


async def test_a_key_that_is_configured_serves_while_the_key_set_is_away(start_stack: Callable[..., Any]) -> None:
    """Of two sources of keys one is enough for the tokens that it signs."""
    async with JwksServer(SIGNER) as server:
        pass
    started: Stack = await start_stack(CLERKSYNC_CLERK_JWKS=server.url, CLERK_JWT_KEY=SIGNER.pem)
    expired, other = session_claims(iat=1, nbf=1, exp=61), Signer().sign(session_claims())

    assert (
        CREATED
        == (await started.sync.EnsureUserProfile(profile_request(SIGNER.sign(session_claims())), timeout=10)).outcome
    )
    call = started.sync.EnsureUserProfile(profile_request(SIGNER.sign(expired)), timeout=10)
    assert (UNAUTHENTICATED, "SESSION_TOKEN_INVALID") == await refusal(call)
    call = started.sync.EnsureUserProfile(profile_request(other), timeout=10)
    assert (grpc.StatusCode.UNAVAILABLE, "KEYS_UNAVAILABLE") == await refusal(call)


@pytest.mark.parametrize("name", ["CLERK_JWT_KEY", "CLERKSYNC_CLERK_JWKS"])
async def test_a_key_of_no_use_is_told_at_the_start(name: str, start_stack: Callable[..., Any]) -> None:
    """The error names the variable, and what it holds is not repeated if it may be a key."""
    with pytest.raises(InvalidSettings) as caught:
        await start_stack(**{name: "hunter2"})

    assert str(caught.value).startswith(f"{name}: ")
    assert name == "CLERKSYNC_CLERK_JWKS" or "hunter2" not in str(caught.value)


@pytest.mark.parametrize("request_of", [profile_request, organization_request])
def test_who_has_to_prove_sessions_is_not_believed_without(request_of: Callable[[str], Any]) -> None:
    """A caller whose policy says so has to pass a token with each request; others need not."""
    proving = Proving(SessionTokens(keys=keys_in_pem(SIGNER.pem)))
    stated = request_of("")
    stated.clerk_org_id = ORG
    if isinstance(stated, sync_service_pb2.EnsureUserProfileRequest):
        stated.clerk_user_id = USER

    def ask(request: Any, *, must: bool) -> Any:
        set_present_caller(Caller("token:shop", must_prove_sessions=must))
        profile = isinstance(request, sync_service_pb2.EnsureUserProfileRequest)
        return proving.sighting(request) if profile else proving.organization(request)

    def asked(request: Any, *, must: bool) -> Any:
        try:
            return copy_context().run(ask, request, must=must)
        except ClerksyncError as error:
            return error

    refused = asked(stated, must=True)
    assert isinstance(refused, SessionTokenRefused)
    assert refused.problem is SessionTokenProblem.MISSING
    assert ORG in asked(request_of(SIGNER.sign(session_claims())), must=True)
    assert ORG in asked(stated, must=False)


def test_the_time_is_exact() -> None:
    """An `iat` with a fraction agrees with the same in a Timestamp, as clients make it of a float."""
    proving = Proving(SessionTokens(keys=keys_in_pem(SIGNER.pem)))
    iat = int(time.time()) - 2 + 0.123
    milliseconds = int(iat) * 1000 + 123

    sighting = proving.sighting(profile_request(SIGNER.sign(session_claims(iat=iat)), issued_at_ms=milliseconds))

    assert milliseconds == sighting.issued_at_ms
