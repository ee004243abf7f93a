"""Callers that show the token of their service account, as Kubernetes mounts it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from stack import Stack, error_details, error_info
from tokens import CLUSTER, JwksServer, Signer, service_account_claims

from clerksync.v1 import sync_service_pb2

POLICY = """
[[callers]]
identity = "kubernetes:shop/*"
roles = ["sibling"]

[[callers]]
identity = "kubernetes:clerksync/front"
roles = ["front"]
"""
SIGNER = Signer()


Start = Callable[[], Awaitable[Stack]]


@pytest.fixture
async def cluster() -> AsyncIterator[JwksServer]:
    """Names the cluster's keys."""
    async with JwksServer(SIGNER) as keys:
        yield keys


@pytest.fixture
def start(start_stack: Callable[..., Any], cluster: JwksServer, tmp_path: Path) -> Start:
    """Starts SyncService with a policy for service accounts, and the cluster's keys."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    return lambda: start_stack(
        CLERKSYNC_POLICY_FILE=str(policy),
        CLERKSYNC_KUBERNETES_ISSUER=CLUSTER,
        CLERKSYNC_KUBERNETES_JWKS=cluster.url,
    )


async def ensure(stack: Stack, claims: dict[str, Any]) -> str:
    """What a call of EnsureUserProfile with a token of these claims comes to."""
    return await ensure_with(stack, SIGNER.sign(claims))


async def ensure_with(stack: Stack, token: str) -> str:
    request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id="user_1", clerk_org_id="org_1")
    metadata = (("authorization", f"Bearer {token}"),)
    try:
        await stack.sync.EnsureUserProfile(request, metadata=metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        retry = any(isinstance(detail, error_details_pb2.RetryInfo) for detail in error_details(error))
        return f"{error_info(error).reason}{', retry' if retry else ''}"
    return "let in"


async def test_service_accounts_and_the_policy(start: Start) -> None:
    """A service account may what the policy says of it or of its namespace; an expired token is good for nothing."""
    stack_in_cluster = await start()
    subject = "system:serviceaccount:"
    told = {
        "of the namespace": await ensure(stack_in_cluster, service_account_claims()),
        "of another role": await ensure(stack_in_cluster, service_account_claims(sub=f"{subject}clerksync:front")),
        "of another namespace": await ensure(stack_in_cluster, service_account_claims(sub=f"{subject}shopping:cart")),
        "expired": await ensure(stack_in_cluster, service_account_claims(exp=1)),
        "for somebody else": await ensure(stack_in_cluster, service_account_claims(aud=["other"])),
    }

    assert told == {
        "of the namespace": "let in",
        "of another role": "METHOD_NOT_ALLOWED",
        "of another namespace": "METHOD_NOT_ALLOWED",
        "expired": "CREDENTIALS_INVALID",
        "for somebody else": "CREDENTIALS_INVALID",
    }


async def test_an_outage_of_the_cluster_is_not_told_as_bad_credentials(start: Start, cluster: JwksServer) -> None:
    """Where its keys could not be had at the start, callers are to try again, and are let in soon after they can be."""
    cluster.status = 503
    stack = await start()
    assert "KEYS_UNAVAILABLE, retry" == await ensure(stack, service_account_claims())

    cluster.status = 200
    async with asyncio.timeout(15):
        while "let in" != (told := await ensure(stack, service_account_claims())):
            assert "KEYS_UNAVAILABLE, retry" == told
            await asyncio.sleep(0.05)


async def test_a_token_is_good_as_long_as_its_key(
    monkeypatch: pytest.MonkeyPatch, start: Start, cluster: JwksServer
) -> None:
    """A caller that was let in is turned away soon after the cluster has taken the key back, whoever else calls."""
    monkeypatch.setattr("clerksync_server.access.jwks.MAX_AGE_S", 0.05)
    stack, token = await start(), SIGNER.sign(service_account_claims())
    assert "let in" == await ensure_with(stack, token)

    cluster.body = b'{"keys": []}'
    async with asyncio.timeout(15):
        while "let in" == (told := await ensure_with(stack, token)):
            await asyncio.sleep(0.05)
    assert "CREDENTIALS_INVALID" == told
