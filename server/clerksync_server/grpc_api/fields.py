"""Checks the fields of requests, and turns times into datetimes."""

from datetime import UTC, datetime
from typing import cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from clerksync_server.clerk.values import is_id
from clerksync_server.errors import InvalidFields

_EXPECTED_ID = "expected 1 to 255 printable ASCII characters without spaces"
_EXPECTED_TIME = "is not a time; expected seconds since the epoch, not milliseconds"
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
"""What a Timestamp may hold: the years 1 to 9999."""


class Fields:
    """Collects what is wrong with the fields of a request, so that a caller is told all of it at once."""

    def __init__(self, **ids: str) -> None:
        """Checks ids."""
        self.violations: dict[str, str] = {}
        for field, value in ids.items():
            if not is_id(value):
                self.violations[field] = f"{'is ill-formed' if value else 'is missing'}; {_EXPECTED_ID}"

    def moment(self, request: Message, field: str) -> datetime | None:
        """The time in a field, None if it is unset."""
        if not request.HasField(field):
            return None
        try:
            return cast("Timestamp", getattr(request, field)).ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.violations[field] = _EXPECTED_TIME
            return None

    def milliseconds(self, request: Message, field: str) -> int | None:
        """The time in a field, in whole milliseconds since the epoch, rounded down; None if it is unset."""
        if not request.HasField(field):
            return None
        timestamp: Timestamp = getattr(request, field)
        seconds, nanos = timestamp.seconds, timestamp.nanos
        if _FIRST_S <= seconds <= _LAST_S and 0 <= nanos < 1_000_000_000:
            return seconds * 1000 + nanos // 1_000_000
        self.violations[field] = _EXPECTED_TIME
        return None

    def check(self) -> None:
        """Raises InvalidFields if anything is wrong."""
        if self.violations:
            raise InvalidFields(self.violations)


def check_ids(**ids: str) -> None:
    """Raises InvalidFields with a violation for each id that is missing or ill-formed."""
    Fields(**ids).check()


def timestamp_of(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
