"""Bytes that are no message of the method they are sent to: the caller's fault, told as such.

The transports would answer INTERNAL, as for a defect, and log a traceback for each.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from clerksync_server.errors import InvalidFields

_ILL_FORMED = object()
"""Stands for a message that cannot be decoded, until the call has begun and can be answered."""


def lenient(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Decodes as `decode` does; what it refuses becomes what `check_message` refuses."""
    assert decode is not None  # Generated code always has one.

    def decode_or_note(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return _ILL_FORMED

    return decode_or_note


def check_message(request: object) -> None:
    """Raises InvalidFields if the bytes were no message of the type."""
    if request is _ILL_FORMED:
        raise InvalidFields({"request": "cannot be decoded; expected a message of the method's type"})
