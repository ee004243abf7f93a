"""Time: Clerk's milliseconds, and the aware datetimes of Postgres and protobuf."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def utc_now() -> datetime:
    """The local clock. It decides nothing, except as the last resort of the rule on evidence."""
    return datetime.now(UTC)


def timestamp_of(milliseconds: int) -> datetime:
    """Exact, unlike a conversion by way of a float."""
    return _EPOCH + milliseconds * _MILLISECOND


def milliseconds_of(moment: datetime) -> int:
    """Whole milliseconds since the epoch, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND
