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
_IDLE_S = 0.05
"""Whoever has sent half a request gets no answer until it times out; this is how long one is waited for."""
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
                    assert _ask(live, rest) in _SIGNED_MAY
                case 1:
                    head, _, body = rest.partition(b"\r\n\r\n")
                    signed = signature_headers(_new_id(), body)
                    _check(live, _request(signed, body, more=head))
                case _:
                    _check(live, rest)
            live.check()

        yield target


def _ask(live: Live, body: bytes) -> int:
    """The answer to a signed body, within ten seconds, or it is a hang."""
    (status,) = _statuses(_exchange(live, _request(signature_headers(_new_id(), body), body), _TIMEOUT_S))
    return status


def _check(live: Live, sent: bytes) -> None:
    """Whatever is sent, no answer is 5xx, and others are answered as before."""
    statuses = _statuses(_exchange(live, sent, _IDLE_S))
    assert all(status < 500 for status in statuses), statuses
    assert _ask(live, b"") == 202


def _new_id() -> str:
    return f"msg_{secrets.token_hex(8)}"


def _request(headers: dict[str, str], body: bytes, more: bytes = b"") -> bytes:
    """`more` are lines of headers of the fuzzer's; they come before the right ones."""
    lines = [f"{name}: {value}".encode() for name, value in headers.items()]
    lines += [b"host: a", b"connection: close", b"content-length: %d" % len(body)]
    return b"\r\n".join([f"POST {PATH} HTTP/1.1".encode(), *([more] if more else []), *lines, b"", body])


def _exchange(live: Live, sent: bytes, idle_s: float) -> bytes:
    """Sends, and reads until the front closes the connection, or says nothing for so long."""
    received = bytearray()
    with socket.create_connection(live.http, timeout=_TIMEOUT_S) as connection:
        # The front may have answered, and closed, before all was sent.
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        connection.settimeout(idle_s)
        with contextlib.suppress(ConnectionError, TimeoutError):
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
