"""Checks the fields of requests, and turns times into datetimes."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from clerksync_server.clerk.values import is_id
from clerksync_server.errors import InvalidFields

_EXPECTED_ID = "expected 1 to 255 printable ASCII characters without spaces"


def check_ids(**ids: str) -> None:
    """Raises InvalidFields with a violation for each id that is missing or ill-formed."""
    violations = {
        field: f"{'is ill-formed' if value else 'is missing'}; {_EXPECTED_ID}"
        for field, value in ids.items()
        if not is_id(value)
    }
    if violations:
        raise InvalidFields(violations)


def moment_of(timestamp: Timestamp, field: str) -> datetime:
    """The time, or InvalidFields if it is none between the years 1 and 9999."""
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidFields({field: "is not a time; expected seconds since the epoch, not milliseconds"}) from None


def timestamp_of(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
