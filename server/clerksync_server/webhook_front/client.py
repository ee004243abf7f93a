"""The front's channel to SyncService."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import grpc.aio

from clerksync.channel import ChannelOptions, secured
from clerksync.connection import Connection
from clerksync.credentials import Credentials
from clerksync.v1 import sync_service_pb2_grpc

if TYPE_CHECKING:
    from clerksync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "clerksync.v1.SyncService"}, {"service": "clerksync.v1.DeliveryService"}],
            # Every method may be repeated, and a delivery that waits for Svix's next attempt comes 5 s later.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_OPTIONS: ChannelOptions = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # After an outage the default would wait up to two minutes before it tries to connect again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Some versions wait for this instead, a minute by default.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


LONGEST_CALL_S = 10.0
"""How long a call of the front may take: Svix gives up after 15 s."""


class _Authorizing(grpc.aio.UnaryUnaryClientInterceptor):
    """Has each call carry the bearer token."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Awaitable[Any]], client_call_details: Any, request: Any
    ) -> Any:
        metadata = (*(client_call_details.metadata or ()), *self._credentials.authorization())
        return await continuation(client_call_details._replace(metadata=grpc.aio.Metadata(*metadata)), request)


def connect(target: str, credentials: Credentials | None = None) -> grpc.aio.Channel:
    """A channel to all replicas behind the target, for a few calls. Does not wait for any of them.

    Each call carries the token, if there is one; plaintext without credentials.
    """
    if credentials is None or not credentials.authorization():
        return secured(target, credentials or Credentials(), _OPTIONS)
    return secured(target, credentials, _OPTIONS, [_Authorizing(credentials)])


def keep_connected(target: str, credentials: Credentials | None = None) -> Connection:
    """The same for as long as a process runs; whoever calls adds the token."""
    credentials = credentials or Credentials()
    return Connection(credentials, lambda: secured(target, credentials, _OPTIONS), longest_call_s=LONGEST_CALL_S)


def sync_service(channel: grpc.aio.Channel) -> "SyncServiceAsyncStub":
    """The stub; generated code types it as if every channel were a blocking one."""
    return cast("SyncServiceAsyncStub", sync_service_pb2_grpc.SyncServiceStub(channel))
