"""What calls fail with: the codes, reasons and details of the real service. Only the texts are the fake's own."""

from collections.abc import Mapping

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from clerksync_server.rules.evidence import Verdict

_DOMAIN = "clerksync"
_REFUSALS = {
    Verdict.USER_DELETED: "the user was deleted in Clerk",
    Verdict.ORGANIZATION_DELETED: "the organization was deleted in Clerk",
    Verdict.MEMBERSHIP_REMOVED: "the user was removed from the organization after this token was issued",
    Verdict.EVIDENCE_TOO_OLD: "token_issued_at is older than removals are remembered, so it proves nothing",
}


def refused(verdict: Verdict) -> status_pb2.Status:
    """Ensure may not make the row. The names of the verdicts are the reasons."""
    return _status(grpc.StatusCode.FAILED_PRECONDITION, verdict.name, _REFUSALS[verdict])


def invalid_fields(violations: Mapping[str, str]) -> status_pb2.Status:
    """`violations` maps the name of each ill-formed field to what it has to be."""
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
            for field, text in violations.items()
        ]
    )
    message = "; ".join(f"{field}: {text}" for field, text in violations.items())
    return _status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, bad)


def database_unavailable() -> status_pb2.Status:
    message = "the database cannot take the request now; try again"
    return _status(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", message, _retry_after(2))


def shutting_down() -> status_pb2.Status:
    message = "this replica is stopping; another one answers"
    return _status(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", message, _retry_after(1))


def internal() -> status_pb2.Status:
    return _status(grpc.StatusCode.INTERNAL, "INTERNAL", "internal error; the test has asked for it")


def _retry_after(seconds: int) -> error_details_pb2.RetryInfo:
    return error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds))


def _status(code: grpc.StatusCode, reason: str, message: str, *more: Message) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain=_DOMAIN), *more):
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status
