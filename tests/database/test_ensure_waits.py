"""What an Ensure call waits for in the database is bounded in all, and not step by step."""

import asyncio

import grpc
import grpc.aio
import pytest
from stack import Stack, error_info
from watching import Connection

from clerksync.v1 import sync_service_pb2
from clerksync_server.sync import ensure


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production, but sooner. Look-ups are not slow here: only what comes after them is."""
    monkeypatch.setattr(ensure, "PATIENCE_S", 2.0)


@pytest.mark.parametrize("kind", ["profile", "batch", "organization"])
async def test_what_has_to_be_made(stack: Stack, connection: Connection, kind: str) -> None:
    """Who would have to wait for long for rows that somebody holds is told so when its time is over; nothing stays."""
    profile = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id="user_1", clerk_org_id="org_1")
    calls = {
        "profile": lambda: stack.sync.EnsureUserProfile(profile),
        "batch": lambda: stack.sync.BatchEnsureUserProfiles(
            sync_service_pb2.BatchEnsureUserProfilesRequest(requests=[profile])
        ),
        "organization": lambda: stack.sync.EnsureOrganization(
            sync_service_pb2.EnsureOrganizationRequest(clerk_org_id="org_1")
        ),
    }
    loop = asyncio.get_running_loop()
    async with connection.transaction():
        await connection.execute("lock table public.organization in exclusive mode")
        started = loop.time()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await calls[kind]()
        took_s = loop.time() - started

    assert (caught.value.code(), error_info(caught.value).reason) == (
        grpc.StatusCode.UNAVAILABLE,
        "DATABASE_UNAVAILABLE",
    )
    assert took_s < 6
    await calls[kind]()
