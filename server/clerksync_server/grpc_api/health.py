"""`grpc.health.v1`, for anybody: probes have no credentials."""

import asyncio
from collections.abc import Collection

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

_OVERALL = ""
_Status = health_pb2.HealthCheckResponse


class HealthServicer:
    """Tells changes without a wait: the library's own writes to watchers under a lock that a change needs, too.

    So a watcher who does not read holds up nobody, and its call ends with its connection. Lives in one event loop.
    """

    def __init__(self, services: Collection[str]) -> None:
        """The names of the services that are told of, beside the whole."""
        self._services = (_OVERALL, *services)
        self._changed = asyncio.Event()
        self._serving = False

    def set_serving(self, serving: bool) -> None:
        """Tells whoever watches."""
        self._serving = serving
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return self._answer()

    async def List(  # noqa: N802
        self, request: health_pb2.HealthListRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> health_pb2.HealthListResponse:
        return health_pb2.HealthListResponse(statuses={service: self._answer() for service in self._services})

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> None:
        """Never ends by itself."""
        known = request.service in self._services
        told: health_pb2.HealthCheckResponse | None = None
        while True:
            changed = self._changed
            answer = self._answer() if known else _Status(status=_Status.SERVICE_UNKNOWN)
            if answer != told:
                await context.write(answer)
                told = answer
            await changed.wait()

    def _answer(self) -> health_pb2.HealthCheckResponse:
        return _Status(status=_Status.SERVING if self._serving else _Status.NOT_SERVING)
