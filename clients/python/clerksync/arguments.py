"""What callers ask with, checked before it travels: what SyncService would refuse could spoil a whole batch."""

import re
import time
from datetime import UTC, datetime
from typing import Final

from clerksync.cache import Key
from clerksync.errors import InvalidRequest

_FUTURE_LIMIT_S: Final = 86_400
_TIME = "token_issued_at"
_SESSION: Final = "session_token"
_JWT: Final = re.compile(r"[\x21-\x7e]{1,8192}")


def checked(
    key: Key, issued_at: datetime | float | None, session_token: str | None = None, *, has_user: bool
) -> datetime | None:
    """The time, in UTC. Raises InvalidRequest, which names everything that is ill-formed."""
    user, organization = key
    violations = {}
    if has_user and not _is_id(user):
        violations["clerk_user_id"] = _what_is_wrong(user)
    if not _is_id(organization):
        violations["clerk_org_id"] = _what_is_wrong(organization)
    moment = None
    if issued_at is not None:
        try:
            moment = _moment(issued_at)
        except (TypeError, ValueError, OverflowError, OSError):
            violations[_TIME] = "is no time; expected an aware datetime, or the token's iat in seconds"
        else:
            if moment.timestamp() > time.time() + _FUTURE_LIMIT_S:
                violations[_TIME] = "lies more than a day in the future; expected the token's iat, which counts seconds"
    if session_token is not None and not (isinstance(session_token, str) and _JWT.fullmatch(session_token)):
        violations[_SESSION] = "is ill-formed; expected the JWT as Clerk issued it, at most 8,192 characters"
    if violations:
        raise InvalidRequest(violations)
    return moment


def _is_id(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= 255
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def _what_is_wrong(value: object) -> str:
    state = "is ill-formed" if value else "is missing"
    return f"{state}; expected 1 to 255 printable ASCII characters without spaces"


def _moment(issued_at: datetime | float) -> datetime:
    if not isinstance(issued_at, datetime):
        return datetime.fromtimestamp(issued_at, UTC)
    if issued_at.tzinfo is UTC:
        return issued_at
    if issued_at.utcoffset() is None:
        raise ValueError
    return issued_at.astimezone(UTC)
