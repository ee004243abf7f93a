"""The gRPC port: arbitrary messages to every method, and bytes that are no HTTP/2, never end in a defect or a hang."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from clerksync.v1 import delivery_service_pb2, sync_service_pb2
from fuzz.live import Live, live_stack

_TIMEOUT_S = 10.0
_STREAM_S = 0.2
_READ_S = 0.05
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_SERVICES = (
    sync_service_pb2.DESCRIPTOR.services_by_name["SyncService"],
    delivery_service_pb2.DESCRIPTOR.services_by_name["DeliveryService"],
)
METHODS = tuple(
    (f"/{service.full_name}/{method.name}", method.server_streaming)
    for service in _SERVICES
    for method in service.methods
)
"""Of our services, in the order of the protos."""
_MAY = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNAUTHENTICATED,  # A session token, and nothing to verify it with.
    }
)


@contextmanager
def opened(database_url: str, transport: str = "grpcio") -> Iterator[Callable[[bytes], None]]:
    """The target, as long as the block lasts."""
    with live_stack(database_url, transport) as live, grpc.insecure_channel(str(live.grpc)) as channel:
        calls = [_call(channel, path, streaming=streaming) for path, streaming in METHODS]

        def target(data: bytes) -> None:
            """The first byte says whom the rest is for: a method, or the port, with and without what begins HTTP/2."""
            kind, rest = (data[:1] or b"\x00")[0] % (len(METHODS) + 2), data[1:]
            if kind < len(METHODS):
                calls[kind](rest)
            else:
                _send_garbage(live, rest if kind == len(METHODS) else _PREFACE + _SETTINGS + rest)
                _check_alive(calls)
            live.check()

        yield target


def _check_alive(calls: list[Callable[[bytes], None]]) -> None:
    """Others are answered as before."""
    calls[0](b"")


def _call(channel: grpc.Channel, path: str, *, streaming: bool) -> Callable[[bytes], None]:
    if streaming:
        stream: Any = channel.unary_stream(path)
        return lambda message: _read(stream, message)
    unary: Any = channel.unary_unary(path)

    def ask(message: bytes) -> None:
        try:
            unary(message, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            assert error.code() in _MAY, (path, error.code(), error.details())

    return ask


def _read(stream: Any, message: bytes) -> None:
    """A stream goes on until its caller ends it."""
    try:
        for _ in stream(message, timeout=_STREAM_S):
            pass
    except grpc.RpcError as error:
        assert error.code() in _MAY | {grpc.StatusCode.DEADLINE_EXCEEDED}, (error.code(), error.details())


def _send_garbage(live: Live, sent: bytes) -> None:
    """What comes back, if anything, is for HTTP/2 to say."""
    with (
        contextlib.suppress(OSError),  # The port may have closed the connection at any point.
        socket.create_connection(live.grpc, timeout=_TIMEOUT_S) as connection,
    ):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_READ_S)
        while connection.recv(65536):
            pass
