"""Messages and times that no client of ours sends are the caller's fault, and told as such."""

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from stack import Stack, error_info
from transports import TRANSPORTS

from clerksync.v1 import sync_service_pb2
from fuzz.grpc_port import METHODS

_ALL_METHODS = [
    *METHODS,
    ("/grpc.health.v1.Health/Check", False),
    ("/grpc.health.v1.Health/List", False),
    ("/grpc.health.v1.Health/Watch", True),
]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("path", "streaming"), _ALL_METHODS, ids=[path.rpartition("/")[2] for path, _ in _ALL_METHODS])
async def test_bytes_that_are_no_message(stack: Stack, path: str, *, streaming: bool) -> None:
    """They are INVALID_ARGUMENT for every method and transport, not the INTERNAL of a defect."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if streaming:
            stream: Any = stack.channel.unary_stream(path)
            await stream(b"\x0a\x7f", timeout=5).read()
        else:
            unary: Any = stack.channel.unary_unary(path)
            await unary(b"\x0a\x7f", timeout=5)

    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert error_info(caught.value).reason == "INVALID_FIELD"


@pytest.mark.parametrize("seconds", [-62_135_596_800, -1, 0])
async def test_tokens_older_than_all_time(stack: Stack, seconds: int) -> None:
    """A token issued in the year 1 is refused like any other that is too old, also where something else refuses it."""
    deletion = sync_service_pb2.ApplyClerkEventRequest(
        svix_id="msg_1", attempted_at=Timestamp(seconds=1), body=b'{"type": "user.deleted", "data": {"id": "user_2"}}'
    )
    await stack.sync.ApplyClerkEvent(deletion)
    reasons = []
    for user in ("user_1", "user_2"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stack.sync.EnsureUserProfile(
                sync_service_pb2.EnsureUserProfileRequest(
                    clerk_user_id=user, clerk_org_id="org_1", token_issued_at=Timestamp(seconds=seconds)
                )
            )
        reasons.append(error_info(caught.value).reason)

    assert ["EVIDENCE_TOO_OLD", "USER_DELETED"] == reasons


@pytest.mark.parametrize("seconds", [-62_135_596_800, -1, 253_402_300_799])
async def test_attempts_outside_of_all_time(stack: Stack, seconds: int) -> None:
    """An attempt before 1970, or at the end of what Postgres and Python can tell, is refused and stores nothing."""
    request = sync_service_pb2.ApplyClerkEventRequest(
        svix_id="msg_1",
        attempted_at=Timestamp(seconds=seconds, nanos=999_999_999 if seconds > 0 else 0),
        body=b'{"type": "organization.deleted", "data": {"id": "org_1"}}',
    )

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.sync.ApplyClerkEvent(request)

    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert await stack.rows("select svix_id from clerksync.webhook_delivery") == []
