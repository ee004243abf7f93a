"""What can go wrong, as callers see it.

ClerksyncError
├── Refused                  an answer: the profile may not be made
│   ├── MembershipRemoved      removed from the organization after the token was issued
│   ├── UserDeleted            deleted in Clerk; final
│   ├── OrganizationDeleted    deleted in Clerk; final
│   ├── EvidenceTooOld         the token is older than removals are remembered
│   └── SessionTokenRefused    the session token is missing, not valid, or disagrees with the request
├── InvalidRequest           an ill-formed id or time: the caller's mistake
├── Unavailable              no answer now; the same call may succeed later
│   ├── DeadlineExceeded       not in time
│   ├── CircuitOpen            not asked, because it has failed too often just now
│   └── ClientClosed           not asked, because the client is closed
└── CallFailed               any other failure: SyncService is broken or older than the client, or refuses the caller

SyncService tells the cases apart by the reason of a `google.rpc.ErrorInfo`; see docs/api.md.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

_DOMAIN = "clerksync"


class ClerksyncError(Exception):
    """The root. Texts hold no ids."""

    kind: ClassVar[str] = "error"
    """What metrics call it: one word of a closed set."""


class Refused(ClerksyncError):
    """An answer: the profile, or the organization, does not exist and may not be made. `reason` as in docs/api.md."""

    kind: ClassVar[str] = "refused"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def label(self) -> str:
        """The reason as metrics call it: one of `REFUSAL_REASONS`."""
        return self.reason if self.reason in _REFUSALS else "OTHER"


class MembershipRemoved(Refused):
    """The user was removed from the organization after the token was issued. A newer token may bring them back."""


class UserDeleted(Refused):
    """The user was deleted in Clerk. Final."""


class OrganizationDeleted(Refused):
    """The organization was deleted in Clerk. Final."""


class EvidenceTooOld(Refused):
    """The token is older than removals are remembered (90 days by default), so it proves nothing."""


class SessionTokenRefused(Refused):
    """The session token is missing, not valid, or disagrees with the request. `reason` tells which."""


class InvalidRequest(ClerksyncError):
    """Ids or a time are ill-formed. `violations` maps the name of each field to what it has to be."""

    kind: ClassVar[str] = "invalid_request"

    def __init__(self, violations: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {text}" for field, text in violations.items()))
        self.violations = dict(violations)


class Unavailable(ClerksyncError):
    """SyncService could not be asked, or could not answer, now."""

    kind: ClassVar[str] = "unavailable"


class DeadlineExceeded(Unavailable):
    """The answer did not come in time. The call may have had its effect."""

    kind: ClassVar[str] = "deadline_exceeded"


class CircuitOpen(Unavailable):
    """SyncService was not asked, because asking has failed too often just now."""

    kind: ClassVar[str] = "circuit_open"


class ClientClosed(Unavailable):
    """The client was closed."""

    kind: ClassVar[str] = "client_closed"


class CallFailed(ClerksyncError):
    """The call failed, and the same again would fail as well. `code` is the name of the gRPC code."""

    kind: ClassVar[str] = "call_failed"

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


KINDS = tuple(
    kind.kind
    for kind in (Refused, InvalidRequest, Unavailable, DeadlineExceeded, CircuitOpen, ClientClosed, CallFailed)
)
"""Every kind of failure."""

_REFUSALS: Mapping[str, type[Refused]] = {
    "MEMBERSHIP_REMOVED": MembershipRemoved,
    "USER_DELETED": UserDeleted,
    "ORGANIZATION_DELETED": OrganizationDeleted,
    "EVIDENCE_TOO_OLD": EvidenceTooOld,
    "SESSION_TOKEN_MISSING": SessionTokenRefused,
    "SESSION_TOKEN_INVALID": SessionTokenRefused,
    "SESSION_TOKEN_MISMATCH": SessionTokenRefused,
}
REFUSAL_REASONS = (*_REFUSALS, "OTHER")
"""The reasons of refusals as labels; a reason that this version does not know is `OTHER`."""

_UNAVAILABLE: Mapping[int, type[Unavailable]] = {
    grpc.StatusCode.UNAVAILABLE.value[0]: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: Unavailable,
    grpc.StatusCode.ABORTED.value[0]: Unavailable,
    grpc.StatusCode.CANCELLED.value[0]: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: DeadlineExceeded,
}
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def error_from_rpc(error: grpc.RpcError) -> ClerksyncError:
    """Turns what a gRPC call has raised into one of our own errors."""
    bare = status_pb2.Status(code=error.code().value[0], message=error.details() or "")
    try:
        return error_from_status(rpc_status.from_call(error) or bare)
    except (ValueError, DecodeError):  # The details are garbage, or of another code: some proxy's doing.
        return error_from_status(bare)


def error_from_status(status: status_pb2.Status) -> ClerksyncError:
    """Turns a status that is no success into one of our own errors."""
    reason = _reason(status.details)
    code = _CODE_NAMES.get(status.code, "UNKNOWN")
    # What is wrong about a session token concerns one user: it is no trouble of SyncService's, nor of the caller's.
    if reason is not None and (code == "FAILED_PRECONDITION" or reason in _REFUSALS):
        return _REFUSALS.get(reason, Refused)(status.message, reason=reason)
    if code == "INVALID_ARGUMENT" and reason is not None:
        return InvalidRequest(_violations(status.details) or {"request": status.message})
    if (kind := _UNAVAILABLE.get(status.code)) is not None:
        return kind(status.message or "no answer in time")
    return CallFailed(f"{code}: {status.message}", code=code)


def _reason(details: Iterable[Any]) -> str | None:
    info = error_details_pb2.ErrorInfo()
    for detail in details:
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == _DOMAIN:
            return str(info.reason)
    return None


def _violations(details: Iterable[Any]) -> dict[str, str]:
    bad = error_details_pb2.BadRequest()
    for detail in details:
        if detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
            return {violation.field: violation.description for violation in bad.field_violations}
    return {}
