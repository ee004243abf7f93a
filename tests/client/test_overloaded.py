"""A SyncService that has too much to do, had enough of a caller, or has no keys yet, could not be asked: no more."""

from typing import Any

import grpc.aio
import pytest
from grpc_status import rpc_status

import clerksync
from clerksync import Identity, SyncClient
from clerksync.policy import GO_ON, Guard
from clerksync.v1 import sync_service_pb2_grpc
from clerksync_server.errors import KeysUnavailable, Overloaded, RateLimited
from clerksync_server.grpc_api.status import status_of


class Full(sync_service_pb2_grpc.SyncServiceServicer):
    """Answers every question with the error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def EnsureUserProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = rpc_status.to_status(status_of(self._error))
        await context.abort(answer.code, answer.details, answer.trailing_metadata)


@pytest.mark.parametrize("error", [Overloaded(), RateLimited(3), KeysUnavailable("KEYS")], ids=repr)
async def test_a_request_goes_on(error: Exception) -> None:
    """The caller is told Unavailable, nobody is denied, and after several in a row SyncService is left in peace."""
    server = grpc.aio.server()
    sync_service_pb2_grpc.add_SyncServiceServicer_to_server(Full(error), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with SyncClient(f"127.0.0.1:{port}") as client:
        with pytest.raises(clerksync.Unavailable):
            await client.ensure_user_profile("user_1", "org_1")
        guard = Guard(client, budget_s=2)
        decisions = [await guard.check(Identity(f"user_{number}", "org_1")) for number in range(10)]
        unanswered = dict(client.stats.unanswered)
    await server.stop(None)

    assert [GO_ON] * 10 == decisions
    assert {"unavailable", "circuit_open"} == {kind for kind, number in unanswered.items() if number}
