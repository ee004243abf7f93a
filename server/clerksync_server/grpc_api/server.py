"""The gRPC server: our servicers, health and reflection."""

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from clerksync.v1 import (
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    sync_service_pb2,
    sync_service_pb2_grpc,
)
from clerksync_server.access.authorizer import Access, everyone
from clerksync_server.grpc_api.delivery_servicer import DeliveryServicer
from clerksync_server.grpc_api.health import HealthServicer
from clerksync_server.grpc_api.interceptor import CallInterceptor, answering_for_itself
from clerksync_server.grpc_api.sync_servicer import SyncServicer
from clerksync_server.grpc_api.tls import ServerCertificate
from clerksync_server.grpc_api.transport import make_server
from clerksync_server.settings.types import Address, Reflection, Transport

_SYNC_SERVICE = sync_service_pb2.DESCRIPTOR.services_by_name["SyncService"].full_name
_DELIVERY_SERVICE = delivery_service_pb2.DESCRIPTOR.services_by_name["DeliveryService"].full_name
_HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_LAST_BYTES_S = 0.1
"""For answers on their way when the last call has ended."""


class CannotListen(Exception):
    """The address cannot be listened on. The text says why."""


class ServerEnded(Exception):
    """The server has ended, and nobody has asked it to."""


class GrpcServer:
    """SyncService and DeliveryService on one port, with `grpc.health.v1` and reflection."""

    def __init__(
        self,
        sync: SyncServicer,
        deliveries: DeliveryServicer,
        *,
        access: Access,
        reflection_for: Reflection = "operators",
        transport: Transport = "grpcio",
    ) -> None:
        self._stopping = False
        self._ending: asyncio.Task[bool] | None = None
        self._calls = CallInterceptor(access)
        self._server = make_server(transport)
        self._health = HealthServicer([_SYNC_SERVICE, _DELIVERY_SERVICE])
        ours: Any = self._calls.wrapping(self._server)
        sync_service_pb2_grpc.add_SyncServiceServicer_to_server(sync, ours)
        delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server(deliveries, ours)
        telling: Any = answering_for_itself(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, telling)
        if reflection_for != "off":
            names = [_SYNC_SERVICE, _DELIVERY_SERVICE, _HEALTH_SERVICE, reflection.SERVICE_NAME]
            asking = everyone() if reflection_for == "everyone" else access
            reflecting: Any = self._calls.wrapping(self._server, asking)
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
                reflection.aio.ReflectionServicer(names), reflecting
            )

    async def start(self, address: Address, certificate: ServerCertificate | None = None) -> Address:
        """Returns the address with the port that was taken. Without a certificate it is plaintext.

        Raises CannotListen.
        """
        try:
            if certificate is None:
                port = self._server.add_insecure_port(str(address))
            else:
                port = self._server.add_secure_port(str(address), certificate.credentials())
            await self._server.start()
            self._ending = asyncio.create_task(self._server.wait_for_termination(), name="end of gRPC")
        except RuntimeError:
            raise CannotListen(
                f"{address} cannot be listened on: is the port in use, and is the host one of this machine?"
            ) from None
        except OSError as error:  # `native` needs a Unix socket of its own.
            raise CannotListen(
                f"{address} cannot be listened on: no temporary folder can be written ({error.strerror}); "
                "TMPDIR names another one"
            ) from None
        return Address(address.host, port)

    async def serve(self) -> None:
        """Returns when the server has been stopped. Raises ServerEnded."""
        assert self._ending is not None, "it has been started"
        await asyncio.wait((self._ending,))  # Which leaves it as it is if this is cancelled.
        if self._stopping:
            return
        error = self._ending.exception()
        raise ServerEnded("gRPC is served no longer" + (f": {type(error).__name__}" if error else ""))

    def set_serving(self, serving: bool) -> None:
        """Tells the health service's clients. Until it is called for the first time, this is not serving."""
        self._health.set_serving(serving)

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls, and gives those in progress `grace_s` to finish.

        Streams of health, which never end by themselves, are not waited for.
        """
        self._stopping = True
        await self._calls.drain(grace_s)
        await self._server.stop(_LAST_BYTES_S)
        if self._ending is not None:
            await asyncio.wait((self._ending,))
