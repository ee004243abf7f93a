"""What carries the calls: grpcio, or pygrpc-native, whose HTTP/2 runs outside the GIL. Above this they are the same."""

from typing import cast

import grpc.aio

from clerksync_server.grpc_api.applying import MAX_BODY_BYTES
from clerksync_server.grpc_api.grpcio_server import GrpcioServer
from clerksync_server.settings.types import Transport

_MAX_METADATA_BYTES = 16 * 1024
_MOST_CONNECTIONS = 4000
_MOST_CALLS_OF_A_CONNECTION = 500
_OPTIONS = [
    # Room for a body of the largest size, or for many small ones, and the fields around them. Compressed messages are
    # held against it while they are unpacked.
    ("grpc.max_receive_message_length", MAX_BODY_BYTES + 512 * 1024),
    # Between two different limits grpcio would refuse calls at random.
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES),
    # Each may hold a message of the largest size, whoever sends it: tokens are looked at when it is there. The quota
    # for memory that grpcio has inside cannot be reached from Python, and a bound for the calls of all connections
    # would let few strangers lock all others out. So many of one connection stay below the memory of a Pod. Clients of
    # grpcio do not wait with those beyond it, which are refused: so it is more than a service has under way.
    ("grpc.max_concurrent_streams", _MOST_CALLS_OF_A_CONNECTION),
    # Two servers on one port would share it silently; the second is to fail instead.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]
_OPTIONS_OF_GRPCIO = [
    # Idle clients may ask every 10 s whether the connection is still there, and twice too soon before they are thrown
    # out. The other one takes any number of pings.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
    # For who connects and then does not speak HTTP/2, or TLS. The other one waits for them.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_allowed_incoming_connections", _MOST_CONNECTIONS),
    # For calls that Python has not taken up yet; never reached. By default grpcio ends some of 1,000 or more, and all
    # after 3,000, as CANCELLED, which tells nobody to come again: what waits behind them has its own bounds.
    ("grpc.server.max_pending_requests", _MOST_CONNECTIONS * _MOST_CALLS_OF_A_CONNECTION),
    ("grpc.server.max_pending_requests_hard_limit", _MOST_CONNECTIONS * _MOST_CALLS_OF_A_CONNECTION),
    ("grpc.max_connection_idle_ms", 120_000),
    # Clients that balance by themselves look for new replicas when they connect anew. The other one refuses to start
    # with these: it never ends a connection by its age.
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
]


def make_server(transport: Transport) -> grpc.aio.Server:
    """A server for generated servicers. `native` has no TLS, and needs the extra of that name."""
    if transport == "native":
        from clerksync_server.grpc_api.native import NativeServer  # noqa: PLC0415  (the extra may not be installed)

        # Python is what a call waits for: a second thread for input and output only woke more often, for 7 % more CPU.
        return NativeServer(options=_OPTIONS, io_threads=1)
    return cast("grpc.aio.Server", GrpcioServer([*_OPTIONS, *_OPTIONS_OF_GRPCIO]))
