"""The decoder of Clerk's bodies: any bytes are understood, or NotUnderstood; what is told fits into Postgres."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from clerksync_server.clerk.events import decode_event
from clerksync_server.clerk.values import NotUnderstood, is_id

_AT = 1_700_000_000_000
_YEAR_10000 = 253_402_300_800_000
_LONGEST_REASON = 500


def target(data: bytes) -> None:
    """Any other exception than NotUnderstood, and any value that Postgres would refuse, is a finding."""
    try:
        event = decode_event(data, attempted_at_ms=_AT, instance_id="ins_1", now_ms=_AT)
    except NotUnderstood as error:
        reason, event_type = str(error), error.event_type
        assert reason
        assert len(reason) <= _LONGEST_REASON
        _check_storable(reason)
        _check_storable(event_type)
        return
    assert event.ours == bool(event.facts)
    for value in (event.type, event.event_at_ms, *_values_in(event.facts)):
        _check_storable(value)
    for clerk_id in (event.clerk_user_id, event.clerk_org_id):
        assert clerk_id is None or is_id(clerk_id)


def _check_storable(value: object) -> None:
    """No text with NUL or half a surrogate pair, no time outside of the years 1970 to 9999."""
    if isinstance(value, int):
        assert 0 <= value < _YEAR_10000
    elif value is not None:
        assert isinstance(value, str)
        assert "\x00" not in value
        value.encode()


def _values_in(value: Any) -> Iterator[Any]:
    if is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in fields(value))
    if isinstance(value, tuple):
        for inner in value:
            yield from _values_in(inner)
    else:
        yield value
