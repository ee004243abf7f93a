"""The front, over a socket: raw bytes, odd headers, and signed bodies never make an answer of 5xx, or none in time."""

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clerksync_server.webhook_front.app import PATH

from fuzz.live import Live, live_stack
from fuzz.signing import signature_headers

_TIMEOUT_S = 10.0
_SIGNED_MAY = {200, 202, 400, 413}


@contextmanager
def opened(database_url: str) -> Iterator[Callable[[bytes], None]]:
    """The target, as long as the block lasts."""
    with live_stack(database_url) as live:

        def target(data: bytes) -> None:
            """The first byte, modulo 3, says what the rest is: a signed body, lines of headers, or all that is sent."""
            kind, rest = data[:1], data[1:]
            match (kind or b"\x00")[0] % 3:
                case 0:
                    (status,) = _statuses(_exchange(live, _request(signature_headers(_new_id(), rest), rest)))
                    assert status in _SIGNED_MAY, status
                case 1:
                    head, _, body = rest.partition(b"\r\n\r\n")
                    signed = signature_headers(_new_id(), body)
                    _check(live, _request(signed, body, more=head))
                case _:
                    _check(live, rest)
            live.check()

        yield target


def _check(live: Live, sent: bytes) -> None:
    statuses = _statuses(_exchange(live, sent))
    assert all(status < 500 for status in statuses), statuses


def _new_id() -> str:
    return f"msg_{secrets.token_hex(8)}"


def _request(headers: dict[str, str], body: bytes, more: bytes = b"") -> bytes:
    """`more` are lines of headers of the fuzzer's; they come before the right ones."""
    lines = [f"{name}: {value}".encode() for name, value in headers.items()]
    lines += [b"host: a", b"connection: close", b"content-length: %d" % len(body)]
    return b"\r\n".join([f"POST {PATH} HTTP/1.1".encode(), *([more] if more else []), *lines, b"", body])


def _exchange(live: Live, sent: bytes) -> bytes:
    """Sends, says that there is no more to come, and reads to the end; within ten seconds, or it is a hang."""
    received = bytearray()
    with socket.create_connection(live.http, timeout=_TIMEOUT_S) as connection:
        # The front may have answered, and closed, before all was sent.
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                received += chunk
    return bytes(received)


def _statuses(received: bytes) -> list[int]:
    """Of all answers on a connection: requests can be sent one after the other."""
    statuses = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        statuses.append(int(status_line.split(b" ", 2)[1]))
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        received = received[int(headers.get(b"content-length", b"0")) :]
    return statuses
