"""Single values of Clerk's bodies: ids, times and texts."""

import re

_ID = re.compile(r"[\x21-\x7e]{1,255}")
_SECONDS_BELOW = 100_000_000_000
"""Smaller times are seconds: as milliseconds they would lie before 1973-03-03. Clerk's own examples mix both."""
_LATEST_MS = 253_402_300_799_999
"""The end of the year 9999, the last that both Postgres and Python can tell."""


class NotUnderstood(Exception):
    """A signed body cannot be understood. The text names the place, never the value."""

    event_type: str | None = None
    """The type of the event, if the body could be read so far."""


def is_id(text: str) -> bool:
    """Whether the text can be an id: printable ASCII without spaces, 1 to 255 characters. Prefixes are not checked."""
    return _ID.fullmatch(text) is not None


def checked_id(text: str, place: str) -> str:
    if not is_id(text):
        raise NotUnderstood(f"{place} is not an id: 1 to 255 printable ASCII characters without spaces")
    return text


def time_ms(value: float | None, place: str) -> int | None:
    """Milliseconds since the epoch; None where there is no time (null or zero)."""
    if type(value) is int and _SECONDS_BELOW <= value <= _LATEST_MS:
        return value  # As nearly all are.
    if value is None or value == 0:
        return None
    # So that no number is too large for it, the bounds come before any arithmetic.
    if not 0 < value <= _LATEST_MS:
        raise NotUnderstood(f"{place} is not a time")
    milliseconds = int(value * 1000) if value < _SECONDS_BELOW else int(value)
    return min(milliseconds, _LATEST_MS)


def clean_text(text: str | None) -> str | None:
    """The text without NUL, which Postgres refuses. None if nothing is left."""
    return (text or "").replace("\x00", "") or None
