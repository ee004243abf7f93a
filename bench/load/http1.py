"""As much of HTTP/1.1 as posting deliveries by connections that are kept needs."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


class Sender(asyncio.Protocol):
    """Posts one request after the other by one connection."""

    def __init__(
        self,
        *,
        next_request: Callable[[], tuple[bytes, int] | None],
        answered: Callable[[int], None],
        failed: Callable[[str], None],
        lost: Callable[[], None],
        status: bytes = b"200",
    ) -> None:
        """`next_request` gives the bytes of a request and when it began, or None when there is to be no more.

        An answer with another status than `status` is a failure. `lost` tells that a connection was closed.
        """
        self._next_request = next_request
        self._answered = answered
        self._failed = failed
        self._lost = lost
        self._status = status
        self._rest = b""
        self._began_ns = 0
        self._busy = self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:  # (uvloop's is no asyncio.Transport)
        self._transport = transport
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._busy:
            self._busy = False
            self._failed("the connection was lost")
        if not self._closing:
            self._lost()

    def close(self) -> None:
        """Without waiting for what is in flight."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        head, separator, body = data.partition(_END_OF_HEAD)
        if not separator:
            self._rest = data
            return
        lowered = head.lower()
        at = lowered.find(_LENGTH)
        if at < 0:
            self._busy = False
            self._failed("an answer without Content-Length")
            self.close()
            return
        line_end = lowered.find(b"\r\n", at)
        length = int(head[at + len(_LENGTH) : line_end if line_end > 0 else len(head)])
        if len(body) < length:
            self._rest = data
            return
        self._rest = body[length:]
        self._busy = False
        if head[9:12] == self._status:
            self._answered(self._began_ns)
        else:
            self._failed(f"status {head[9:12].decode(errors='replace')}")
        self._send()

    def _send(self) -> None:
        following = self._next_request()
        if following is not None and self._transport is not None:
            self._busy = True
            content, self._began_ns = following
            self._transport.write(content)
