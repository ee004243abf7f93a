"""Checks the fields of requests, and turns times into datetimes."""

from datetime import UTC, datetime
from typing import cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from clerksync_server.clerk.values import is_id
from clerksync_server.errors import InvalidFields

_EXPECTED_ID = "expected 1 to 255 printable ASCII characters without spaces"


class Fields:
    """Collects what is wrong with the fields of a request, so that a caller is told all of it at once."""

    def __init__(self, **ids: str) -> None:
        """Checks ids."""
        self.violations = {
            field: f"{'is ill-formed' if value else 'is missing'}; {_EXPECTED_ID}"
            for field, value in ids.items()
            if not is_id(value)
        }

    def moment(self, request: Message, field: str) -> datetime | None:
        """The time in a field, None if it is unset."""
        if not request.HasField(field):
            return None
        try:
            return cast("Timestamp", getattr(request, field)).ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.violations[field] = "is not a time; expected seconds since the epoch, not milliseconds"
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
