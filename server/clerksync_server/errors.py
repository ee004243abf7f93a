"""What can go wrong, as the callers of SyncService are to see it.

ClerksyncError
├── InvalidFields            the request is ill-formed
├── Refused                  Ensure may not make the row: removed, deleted, or the token is too old
├── DeliveryNotFound         the ledger does not hold the delivery
├── BodyUnreadable           a body in quarantine is encrypted with a key that is not at hand
├── DeliveryContended        a delivery of a batch would have to wait for others: it has to be applied by itself
├── Unauthenticated          the caller's credentials are missing or not valid
├── NotAllowed               the policy does not let this caller make this call
├── SessionTokenRefused      the end user's session token is missing, not valid, or disagrees with the request
├── KeysUnavailable          the keys that a token is to be verified with could not be read yet
├── Overloaded               as much is waiting as may wait
├── RateLimited              the caller has made as many calls as it may
├── DatabaseUnavailable      Postgres cannot take the work now
├── DatabaseRefused          Postgres refuses the values, or a constraint of the application's does
└── ShuttingDown             this process is stopping

The table in `grpc_api/status.py` says which gRPC status each becomes. Texts never hold values of requests or rows.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from clerksync_server.rules.evidence import Verdict


class ClerksyncError(Exception):
    """The root. `str()` of each is fit to be shown to a caller."""


class InvalidFields(ClerksyncError):
    """A request has fields that are missing or ill-formed."""

    def __init__(self, violations: Mapping[str, str]) -> None:
        """`violations` maps the name of each field to what it has to be."""
        super().__init__("; ".join(f"{field}: {text}" for field, text in violations.items()))
        self.violations = dict(violations)


class Refused(ClerksyncError):
    """Ensure may not make the row."""

    _TEXTS: ClassVar = {
        Verdict.USER_DELETED: "the user was deleted in Clerk",
        Verdict.ORGANIZATION_DELETED: "the organization was deleted in Clerk",
        Verdict.MEMBERSHIP_REMOVED: (
            "the user was removed from the organization after this token was issued; "
            "if they have joined again, a new token or the webhook brings them back"
        ),
        Verdict.EVIDENCE_TOO_OLD: "token_issued_at is older than removals are remembered, so it proves nothing",
    }

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(self._TEXTS[verdict])
        self.verdict = verdict


class DeliveryNotFound(ClerksyncError):
    """The ledger does not hold the delivery."""

    def __init__(self) -> None:
        super().__init__("the ledger holds no delivery with this svix_id")


class BodyUnreadable(ClerksyncError):
    """A body in quarantine is encrypted with a key that is not at hand, or was changed in the database."""


class DeliveryContended(ClerksyncError):
    """A delivery of a batch would have to wait for others."""

    def __init__(self) -> None:
        super().__init__("the delivery would have to wait for others; send it by itself with ApplyClerkEvent")


class Unauthenticated(ClerksyncError):
    """The caller's credentials are missing, or not valid."""

    def __init__(self, text: str, *, missing: bool = False, identity: str | None = None) -> None:
        """`text` tells the caller what to do, and repeats no credential. `identity` is for the log, if it is known."""
        super().__init__(text)
        self.missing = missing
        self.identity = identity


class NotAllowed(ClerksyncError):
    """The policy does not let this caller make this call."""

    def __init__(self, identity: str) -> None:
        """`identity` is for the log."""
        super().__init__("the policy does not let this caller make this call")
        self.identity = identity


class SessionTokenProblem(StrEnum):
    """What is wrong about an end user's session token."""

    MISSING = "missing"
    INVALID = "invalid"
    MISMATCH = "mismatch"


class SessionTokenRefused(ClerksyncError):
    """The end user's session token is missing, not valid, or disagrees with the request."""

    def __init__(self, problem: SessionTokenProblem, text: str) -> None:
        """`text` names the claim or field, and repeats no value."""
        super().__init__(f"session_token: {text}")
        self.problem = problem


class KeysUnavailable(ClerksyncError):
    """Whether a token is valid cannot be told: the keys of its issuer could not be read yet."""

    def __init__(self, variable: str) -> None:
        """`variable` is the setting that names where they are."""
        super().__init__(f"the keys that verify the token ({variable}) could not be read yet; try again")


class Overloaded(ClerksyncError):
    """As much is waiting as may wait; nothing came of the call."""

    def __init__(self) -> None:
        super().__init__("too much is waiting; try again")


class RateLimited(ClerksyncError):
    """The caller has made as many calls as it may."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("this caller has made as many calls as it may; try again later")
        self.retry_after_s = retry_after_s


class DatabaseUnavailable(ClerksyncError):
    """Postgres cannot be reached, or cannot take the work now. `detail` is for the log."""

    def __init__(self, detail: str) -> None:
        super().__init__("the database cannot take the request now; try again")
        self.detail = detail


class DatabaseRefused(ClerksyncError):
    """Postgres refuses the values, or a constraint or trigger that the application put on the tables does."""

    def __init__(self, detail: str) -> None:
        """`detail` names the constraint or the SQLSTATE, and holds no values."""
        super().__init__(f"the database refused the change ({detail})")
        self.detail = detail


class ShuttingDown(ClerksyncError):
    """This process is stopping."""

    def __init__(self) -> None:
        super().__init__("this replica is stopping; another one answers")
