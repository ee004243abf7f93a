"""Callers that show the token of their service account, as Kubernetes mounts it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from stack import Stack, error_info
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


@pytest.fixture
async def stack_in_cluster(start_stack: Callable[..., Any], tmp_path: Path) -> AsyncIterator[Stack]:
    """SyncService with a policy for service accounts, and the cluster's keys."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    async with JwksServer(SIGNER) as keys:
        yield await start_stack(
            CLERKSYNC_POLICY_FILE=str(policy),
            CLERKSYNC_KUBERNETES_ISSUER=CLUSTER,
            CLERKSYNC_KUBERNETES_JWKS=keys.url,
        )


async def ensure(stack: Stack, claims: dict[str, Any]) -> str:
    """What a call of EnsureUserProfile with such a token comes to."""
    request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id="user_1", clerk_org_id="org_1")
    metadata = (("authorization", f"Bearer {SIGNER.sign(claims)}"),)
    try:
        await stack.sync.EnsureUserProfile(request, metadata=metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        return str(error_info(error).reason)
    return "let in"


async def test_service_accounts_and_the_policy(stack_in_cluster: Stack) -> None:
    """A service account may what the policy says of it or of its namespace; an expired token is good for nothing."""
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
