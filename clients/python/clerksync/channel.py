"""The channel to SyncService's replicas."""

import json
from collections.abc import Sequence
from typing import TypeAlias

import grpc
import grpc.aio

from clerksync.credentials import Credentials

ChannelOptions: TypeAlias = Sequence[tuple[str, str | int]]

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # A replica that is stopping, or that has lost its database, is passed over.
    "healthCheckConfig": {"serviceName": "clerksync.v1.SyncService"},
    "methodConfig": [
        {
            # WatchRemovals is not among them: it is resumed by its position, not repeated.
            "name": [
                {"service": "clerksync.v1.SyncService", "method": method}
                for method in ("EnsureUserProfile", "BatchEnsureUserProfiles", "EnsureOrganization")
            ],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.02s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_OPTIONS: ChannelOptions = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # After an outage the default would wait up to two minutes before it tries to connect again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A replica that is frozen, or behind a cut network, is noticed within 15 s and passed over.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Some versions wait for this instead, a minute by default.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # DNS is asked anew at most every 5 s, so that new replicas are found soon after a roll-out.
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    # Each client's connections are its own: another one that is closed must not take them along.
    ("grpc.use_local_subchannel_pool", 1),
)


def connect(
    target: str, *, own: grpc.ChannelCredentials | None, credentials: Credentials, options: ChannelOptions
) -> grpc.aio.Channel:
    """A channel to all replicas behind the target. Does not wait for any of them. `options` come last, and win.

    `own` are credentials that the service made itself; there are none of ours beside them.
    """
    if own is not None:
        return grpc.aio.secure_channel(target, own, options=[*_OPTIONS, *options])
    return secured(target, credentials, [*_OPTIONS, *options])


def secured(
    target: str,
    credentials: Credentials,
    options: ChannelOptions,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """A channel with TLS if the credentials say so. `options` come last, and win."""
    of_channel = credentials.of_channel()
    if of_channel is None:
        options = [*authority_options(target), *options]
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    options = [*credentials.channel_options(), *options]
    return grpc.aio.secure_channel(target, of_channel, options=options, interceptors=interceptors)


def authority_options(target: str) -> ChannelOptions:
    """What a target that lists several addresses needs beside itself, where no certificate names the server.

    gRPC would send the whole list as `:authority`. That is none, and strict servers and proxies refuse every call.
    """
    scheme, _, addresses = target.partition(":")
    if scheme not in ("ipv4", "ipv6") or "," not in addresses:
        return ()
    return (("grpc.default_authority", addresses.lstrip("/").split(",")[0]),)
