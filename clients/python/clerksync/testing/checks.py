"""Checks the fields of requests, as the real service does."""

import re
from datetime import UTC

from clerksync.v1 import sync_service_pb2

_ID = re.compile(r"[\x21-\x7e]{1,255}")
_EXPECTED_ID = "expected 1 to 255 printable ASCII characters without spaces"
_DAY_MS = 24 * 60 * 60 * 1000
MAX_BATCH = 1_000
_TOKEN_TIME = "token_issued_at"  # noqa: S105  (the name of a field)

Ensure = sync_service_pb2.EnsureUserProfileRequest | sync_service_pb2.EnsureOrganizationRequest


def wrong_ids(**ids: str) -> dict[str, str]:
    """What is wrong with the ids, by their names."""
    return {
        name: f"{'is ill-formed' if value else 'is missing'}; {_EXPECTED_ID}"
        for name, value in ids.items()
        if not _ID.fullmatch(value)
    }


def wrong_fields(request: Ensure, *, now_ms: int) -> dict[str, str]:
    """What is wrong with a request of Ensure, by the names of the fields."""
    ids = {"clerk_org_id": request.clerk_org_id}
    if isinstance(request, sync_service_pb2.EnsureUserProfileRequest):
        ids = {"clerk_user_id": request.clerk_user_id} | ids
    violations = wrong_ids(**ids)
    try:
        issued_at_ms = token_issued_at_ms(request)
    except (ValueError, OverflowError):
        violations[_TOKEN_TIME] = "is not a time; expected seconds since the epoch, not milliseconds"
    else:
        # The real service looks at this only once the fields by themselves are well-formed.
        if not violations and issued_at_ms is not None and issued_at_ms > now_ms + _DAY_MS:
            violations[_TOKEN_TIME] = "lies more than a day in the future; send the token's iat, in seconds"
    return violations


def wrong_batch(request: sync_service_pb2.BatchEnsureUserProfilesRequest) -> dict[str, str]:
    """What is wrong with a batch as a whole."""
    if 1 <= len(request.requests) <= MAX_BATCH:
        return {}
    return {"requests": f"expected 1 to {MAX_BATCH:,} requests, got {len(request.requests):,}"}


def token_issued_at_ms(request: Ensure) -> int | None:
    """Milliseconds since the epoch, rounded down; None if it is unset."""
    if not request.HasField("token_issued_at"):
        return None
    request.token_issued_at.ToDatetime(tzinfo=UTC)  # Raises for what is outside of the years that there are.
    return request.token_issued_at.seconds * 1000 + request.token_issued_at.nanos // 1_000_000
