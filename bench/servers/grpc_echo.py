"""The floor of Ensure calls: a bare server whose answer is always the same, and as long as a real one."""

import sys
from typing import Any, cast

from google.protobuf.timestamp_pb2 import Timestamp

from bench import ids
from bench.servers.serving import bare_grpc_server, serve, start_grpc
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc

_USER, _ORG = ids.pair(0)
_ANSWER = sync_service_pb2.EnsureUserProfileResponse(
    user_profile=resources_pb2.UserProfile(
        id="00000000-0000-0000-0000-000000000000",
        clerk_user_id=_USER,
        clerk_org_id=_ORG,
        role="org:member",
        clerk_membership_id=ids.membership_id(0),
        create_time=Timestamp(seconds=1_730_000_000, nanos=123_456_000),
        update_time=Timestamp(seconds=1_730_000_000, nanos=123_456_000),
    ),
    outcome=sync_service_pb2.ENSURE_OUTCOME_EXISTED,
)


class _Echo(sync_service_pb2_grpc.SyncServiceServicer):
    async def EnsureUserProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        return _ANSWER


async def _start() -> int:
    server = bare_grpc_server(sys.argv[1])
    servicer = cast("Any", _Echo)()  # Abstract, as far as types tell: it lacks what nobody calls.
    sync_service_pb2_grpc.add_SyncServiceServicer_to_server(servicer, server)
    return await start_grpc(server)


if __name__ == "__main__":
    serve(_start)
