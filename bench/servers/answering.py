"""A SyncService that takes every delivery and does nothing with it: the way of a delivery without Postgres."""

import sys
from typing import Any, cast

from bench.servers.serving import bare_grpc_server, serve, start_grpc
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc

_APPLIED = sync_service_pb2.ApplyClerkEventResponse(outcome=resources_pb2.DELIVERY_OUTCOME_APPLIED)


class _Answering(sync_service_pb2_grpc.SyncServiceServicer):
    async def ApplyClerkEvent(self, request: Any, context: Any) -> Any:  # noqa: N802
        return _APPLIED

    async def ApplyClerkEvents(self, request: Any, context: Any) -> Any:  # noqa: N802
        messages: Any = sync_service_pb2
        applied = messages.ApplyClerkEventResult(response=_APPLIED)
        return messages.ApplyClerkEventsResponse(results=[applied] * len(request.requests))


async def _start() -> int:
    server = bare_grpc_server(sys.argv[1])
    servicer = cast("Any", _Answering)()  # Abstract, as far as types tell: it lacks what nobody calls.
    sync_service_pb2_grpc.add_SyncServiceServicer_to_server(servicer, server)
    return await start_grpc(server)


if __name__ == "__main__":
    serve(_start)
