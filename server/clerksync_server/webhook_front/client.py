"""The front's channel to SyncService."""

import json
from typing import TYPE_CHECKING, cast

import grpc.aio

from clerksync.channel import authority_options
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
_OPTIONS = [
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


def connect(target: str) -> grpc.aio.Channel:
    """A channel to all replicas behind the target. Does not wait for any of them."""
    return grpc.aio.insecure_channel(target, options=[*_OPTIONS, *authority_options(target)])


def sync_service(channel: grpc.aio.Channel) -> "SyncServiceAsyncStub":
    """The stub; generated code types it as if every channel were a blocking one."""
    return cast("SyncServiceAsyncStub", sync_service_pb2_grpc.SyncServiceStub(channel))
