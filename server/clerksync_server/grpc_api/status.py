"""The one table from our errors to gRPC statuses. `docs/api.md` shows it to callers."""

from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from clerksync.v1.error_reason_pb2 import ErrorReason
from clerksync_server.errors import (
    BodyUnreadable,
    ClerksyncError,
    DatabaseRefused,
    DatabaseUnavailable,
    DeliveryContended,
    DeliveryNotFound,
    InvalidFields,
    KeysUnavailable,
    NotAllowed,
    Overloaded,
    RateLimited,
    Refused,
    SessionTokenProblem,
    SessionTokenRefused,
    ShuttingDown,
    Unauthenticated,
)
from clerksync_server.rules.evidence import Verdict

DOMAIN = "clerksync"
_PREFIX = "ERROR_REASON_"


@dataclass(frozen=True, slots=True)
class _Row:
    code: grpc.StatusCode
    reason: ErrorReason
    retry_after_s: int | None = None


_INTERNAL = _Row(grpc.StatusCode.INTERNAL, ErrorReason.ERROR_REASON_INTERNAL)
_TABLE: dict[type[ClerksyncError], _Row] = {
    InvalidFields: _Row(grpc.StatusCode.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_FIELD),
    DeliveryNotFound: _Row(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_DELIVERY_NOT_FOUND),
    BodyUnreadable: _Row(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_BODY_UNREADABLE),
    DeliveryContended: _Row(grpc.StatusCode.ABORTED, ErrorReason.ERROR_REASON_DELIVERY_CONTENDED),
    NotAllowed: _Row(grpc.StatusCode.PERMISSION_DENIED, ErrorReason.ERROR_REASON_METHOD_NOT_ALLOWED),
    Overloaded: _Row(grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_OVERLOADED, 1),
    KeysUnavailable: _Row(grpc.StatusCode.UNAVAILABLE, ErrorReason.ERROR_REASON_KEYS_UNAVAILABLE, 2),
    DatabaseUnavailable: _Row(grpc.StatusCode.UNAVAILABLE, ErrorReason.ERROR_REASON_DATABASE_UNAVAILABLE, 2),
    ShuttingDown: _Row(grpc.StatusCode.UNAVAILABLE, ErrorReason.ERROR_REASON_SHUTTING_DOWN, 1),
    DatabaseRefused: _INTERNAL,
}
_REFUSALS: dict[Verdict, ErrorReason] = {
    Verdict.USER_DELETED: ErrorReason.ERROR_REASON_USER_DELETED,
    Verdict.ORGANIZATION_DELETED: ErrorReason.ERROR_REASON_ORGANIZATION_DELETED,
    Verdict.MEMBERSHIP_REMOVED: ErrorReason.ERROR_REASON_MEMBERSHIP_REMOVED,
    Verdict.EVIDENCE_TOO_OLD: ErrorReason.ERROR_REASON_EVIDENCE_TOO_OLD,
}
_SESSION_TOKENS: dict[SessionTokenProblem, _Row] = {
    SessionTokenProblem.MISSING: _Row(grpc.StatusCode.UNAUTHENTICATED, ErrorReason.ERROR_REASON_SESSION_TOKEN_MISSING),
    SessionTokenProblem.INVALID: _Row(grpc.StatusCode.UNAUTHENTICATED, ErrorReason.ERROR_REASON_SESSION_TOKEN_INVALID),
    SessionTokenProblem.MISMATCH: _Row(
        grpc.StatusCode.PERMISSION_DENIED, ErrorReason.ERROR_REASON_SESSION_TOKEN_MISMATCH
    ),
}
_CREDENTIALS_MISSING = _Row(grpc.StatusCode.UNAUTHENTICATED, ErrorReason.ERROR_REASON_CREDENTIALS_MISSING)
_CREDENTIALS_INVALID = _Row(grpc.StatusCode.UNAUTHENTICATED, ErrorReason.ERROR_REASON_CREDENTIALS_INVALID)


def _row_of(error: Exception) -> _Row:
    match error:
        case Refused():
            return _Row(grpc.StatusCode.FAILED_PRECONDITION, _REFUSALS[error.verdict])
        case SessionTokenRefused():
            return _SESSION_TOKENS[error.problem]
        case Unauthenticated():
            return _CREDENTIALS_MISSING if error.missing else _CREDENTIALS_INVALID
        case RateLimited():
            reason = ErrorReason.ERROR_REASON_RATE_LIMITED
            return _Row(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, error.retry_after_s)
    return next((row for kind, row in _TABLE.items() if isinstance(error, kind)), _INTERNAL)


def status_of(error: Exception) -> status_pb2.Status:
    """The status that a caller gets. What is not one of our own errors is INTERNAL, with a fixed text."""
    row = _row_of(error)
    internal = row.code is grpc.StatusCode.INTERNAL
    status = status_pb2.Status(
        code=row.code.value[0],
        message="internal error; the server's log tells more, by the request id" if internal else str(error),
    )
    _add(status, error_details_pb2.ErrorInfo(reason=ErrorReason.Name(row.reason).removeprefix(_PREFIX), domain=DOMAIN))
    if isinstance(error, InvalidFields):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
            for field, text in error.violations.items()
        ]
        _add(status, error_details_pb2.BadRequest(field_violations=violations))
    if row.retry_after_s is not None:
        _add(status, error_details_pb2.RetryInfo(retry_delay=Duration(seconds=row.retry_after_s)))
    return status


def code_name(status: status_pb2.Status) -> str:
    """The name of a status's code, for logs and metrics."""
    return str(code_pb2.Code.Name(status.code))


def _add(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)
