"""As much of HTTP/2 as unary gRPC calls need, from the client's side (RFC 9113).

What is sent is encoded beforehand: header fields as literals that never enter the dynamic table, so that every call is
the same bytes but for the id of its stream. What comes back is not decoded: a stream that ends well has had a DATA
frame; an error comes without one.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 2, 3, 4, 5
_LARGEST_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_FRAME = struct.Struct(">BHBBI")
"""The upper byte and the lower two of the length, type, flags, stream."""
_STREAM = struct.Struct(">I")
_SETTING = struct.Struct(">HI")


class Request(NamedTuple):
    """A unary call, encoded; the id of the stream goes between the parts."""

    begin: bytes
    middle: bytes
    message: bytes
    """With gRPC's prefix of 5 bytes."""
    whole: bool
    """Whether it fits into one DATA frame of the size that every server takes, and `middle` ends with its head."""


def request(path: str, authority: str, message: bytes) -> Request:
    # 0x83 and 0x86 are `:method: POST` and `:scheme: http` of the static table, 4, 1 and 31 its names of the others.
    fields = (
        b"\x83\x86"
        + _literal(4, path.encode())
        + _literal(1, authority.encode())
        + _literal(31, b"application/grpc")
        + b"\x00\x02te\x08trailers"
    )
    data = b"\x00" + _STREAM.pack(len(message)) + message
    whole = len(data) <= 16_384
    middle = fields + (_frame_head(len(data), _DATA, _END_STREAM) if whole else b"")
    return Request(_frame_head(len(fields), _HEADERS, _END_HEADERS), middle, data, whole)


def _literal(index: int, value: bytes) -> bytes:
    """A field without indexing, its name by index (RFC 7541, 6.2.2)."""
    name = bytes([index]) if index < 15 else bytes([0x0F, index - 15])
    assert len(value) < 127, "longer values would need more than one byte for their length"
    return name + bytes([len(value)]) + value


def _frame_head(length: int, kind: int, flags: int) -> bytes:
    """All but the stream."""
    return _FRAME.pack(length >> 16, length & 0xFFFF, kind, flags, 0)[:5]


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _frame_head(len(payload), kind, flags) + _STREAM.pack(stream) + payload


class Calls:
    """What a connection asks and tells while it runs."""

    def __init__(
        self,
        *,
        next_call: Callable[[], tuple[Request, int] | None],
        answered: Callable[[int], None],
        failed: Callable[[str], None],
        closing: Callable[[], None],
        sample: Callable[[bytes], None],
    ) -> None:
        """`next_call` gives a request and when it began, or None when there is to be no more.

        `answered` and `failed` tell how it ended; `closing` that the connection takes no more and another one is
        needed; `sample` is given the first message of a connection, without its prefix.
        """
        self.next_call = next_call
        self.answered = answered
        self.failed = failed
        self.closing = closing
        self.sample = sample


class Connection(asyncio.Protocol):
    """Keeps a number of streams busy."""

    def __init__(self, calls: Calls, streams: int) -> None:
        self._calls = calls
        self._streams = streams
        self._next_stream = 1
        self._begun: dict[int, int] = {}
        self._with_data: set[int] = set()
        self._rest = b""
        self._going_away = False
        self._sample: bytearray | None = bytearray()
        self._sampled_stream = 0
        self._window = self._stream_window = _DEFAULT_WINDOW
        self._max_frame = 16_384
        # What the windows have no room for yet: stream, what is left of the message, what is left of its window.
        self._waiting: deque[tuple[int, memoryview]] = deque()
        self._windows: dict[int, int] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:  # (uvloop's is no asyncio.Transport)
        self._transport = transport
        settings = ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        out = [
            _PREFACE,
            _frame(_SETTINGS, 0, 0, b"".join(_SETTING.pack(*setting) for setting in settings)),
            _frame(_WINDOW_UPDATE, 0, 0, _STREAM.pack(_LARGEST_WINDOW - _DEFAULT_WINDOW)),
        ]
        for _ in range(self._streams):
            self._send(out)
        transport.write(b"".join(out))

    def connection_lost(self, error: Exception | None) -> None:
        for _ in range(len(self._begun)):
            self._calls.failed("the connection was lost")
        self._begun.clear()
        if not self._going_away:
            self._calls.closing()

    def close(self) -> None:
        """Without waiting for what is in flight."""
        self._going_away = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        out: list[bytes] = []
        begun, with_data, calls = self._begun, self._with_data, self._calls
        while end - at >= 9:
            upper, lower, kind, flags, stream = _FRAME.unpack_from(data, at)
            after = at + 9 + (upper << 16 | lower)
            if after > end:
                break
            if kind == _DATA:
                if after > at + 9:
                    with_data.add(stream)
                    if self._sample is not None:
                        self._gather(stream, data[at + 9 : after])
                if flags & _END_STREAM:
                    self._ended(stream, out)
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    if stream in with_data:
                        with_data.discard(stream)
                        began_ns = begun.pop(stream)
                        calls.answered(began_ns)
                        self._send(out)
                    else:
                        self._ended(stream, out)
            else:
                self._control(kind, flags, stream, data[at + 9 : after], out)
            at = after
        self._rest = data[at:]
        if out and self._transport is not None:
            self._transport.write(b"".join(out))

    def _ended(self, stream: int, out: list[bytes]) -> None:
        """A stream that ended otherwise than an answer does."""
        self._with_data.discard(stream)
        if self._begun.pop(stream, None) is not None:
            self._calls.failed("an error instead of a message")
            self._send(out)

    def _gather(self, stream: int, part: bytes) -> None:
        """The first message, which may come in several frames."""
        assert self._sample is not None
        if self._sampled_stream in {0, stream}:
            self._sampled_stream = stream
            self._sample += part
            if len(self._sample) >= 5 and len(self._sample) - 5 >= int.from_bytes(self._sample[1:5]):
                self._calls.sample(bytes(self._sample[5:]))
                self._sample = None

    def _control(self, kind: int, flags: int, stream: int, payload: bytes, out: list[bytes]) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self._take_settings(payload)
            out.append(_frame(_SETTINGS, _ACK, 0))
            self._send_waiting(out)
        elif kind == _PING and not flags & _ACK:
            out.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            (more,) = _STREAM.unpack(payload)
            if not stream:
                self._window += more
            elif stream in self._windows:
                self._windows[stream] += more
            self._send_waiting(out)
        elif kind == _RST_STREAM:
            self._windows.pop(stream, None)
            self._ended(stream, out)
        elif kind == _GOAWAY and not self._going_away:
            self._going_away = True
            self._calls.closing()

    def _take_settings(self, payload: bytes) -> None:
        for name, value in _SETTING.iter_unpack(payload):
            if name == _INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._stream_window
                self._stream_window = value
            elif name == _MAX_FRAME_SIZE:
                self._max_frame = value
            elif name == _MAX_CONCURRENT_STREAMS and value < self._streams:
                raise ValueError(f"the server takes {value} streams on a connection, not {self._streams}")

    def _send(self, out: list[bytes]) -> None:
        """Begins the next call, if there is one."""
        if self._going_away:
            return
        call = self._calls.next_call()
        if call is None:
            return
        request, began_ns = call
        stream = self._next_stream
        self._next_stream = stream + 2
        self._begun[stream] = began_ns
        number = _STREAM.pack(stream)
        size = len(request.message)
        if request.whole and size <= self._window and size <= self._stream_window and not self._waiting:
            self._window -= size
            out.append(request.begin + number + request.middle + number + request.message)
            return
        fields = request.middle[:-5] if request.whole else request.middle
        out.append(request.begin + number + fields)
        self._windows[stream] = self._stream_window
        self._waiting.append((stream, memoryview(request.message)))
        self._send_waiting(out)

    def _send_waiting(self, out: list[bytes]) -> None:
        """As much as the windows allow; nobody overtakes."""
        while self._waiting:
            stream, rest = self._waiting[0]
            if stream in self._windows:
                size = min(len(rest), self._window, self._windows[stream], self._max_frame)
                if size <= 0:
                    return
                self._window -= size
                self._windows[stream] -= size
                last = size == len(rest)
                out.append(_frame(_DATA, _END_STREAM if last else 0, stream, bytes(rest[:size])))
                if not last:
                    self._waiting[0] = (stream, rest[size:])
                    continue
                del self._windows[stream]
            self._waiting.popleft()
