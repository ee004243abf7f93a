"""`grpc.health.v1`, which clients may watch before they call. By hand: its package is none that clients need."""

from collections.abc import Iterator

import grpc

from clerksync.testing.stage import Stage
from clerksync.testing.waiting import Ending

_SERVING = b"\x08\x01"
"""A HealthCheckResponse: field 1, `status`, is 1, `SERVING`."""


def health_handler(stage: Stage) -> grpc.GenericRpcHandler:
    """Every service is well, whatever the trouble, so that calls get as far as to be in trouble."""

    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        return _SERVING

    def watch(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        ending = Ending(context, stage)
        yield _SERVING
        with stage.changed:
            stage.changed.wait_for(lambda: ending.has_come or stage.is_stopping)

    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health",
        {
            "Check": grpc.unary_unary_rpc_method_handler(check),
            "Watch": grpc.unary_stream_rpc_method_handler(watch),
        },
    )
