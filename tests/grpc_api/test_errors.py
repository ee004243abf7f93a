"""The error contract: codes, ErrorInfo and the details beside it."""

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from stack import Stack, error_details, error_info, timestamp_of

from clerksync.v1 import delivery_service_pb2, sync_service_pb2
from clerksync.v1.error_reason_pb2 import ErrorReason
from clerksync_server import errors
from clerksync_server.grpc_api.status import DOMAIN, status_of
from clerksync_server.rules.evidence import Verdict

GOOD_ID = "user_1"
BAD_IDS = {"missing": "", "space": "user 1", "too long": "u" * 256, "not ASCII": "usér_1", "control": "user\x07"}
Profile = sync_service_pb2.EnsureUserProfileRequest
Organization = sync_service_pb2.EnsureOrganizationRequest
Apply = sync_service_pb2.ApplyClerkEventRequest
MILLISECONDS_AS_SECONDS = Timestamp(seconds=1_730_279_661_541)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def trailers(metadata: Any) -> dict[str, str]:
    return dict(metadata or ())


def violated_fields(error: grpc.aio.AioRpcError) -> list[str]:
    return [
        violation.field
        for detail in error_details(error)
        if isinstance(detail, error_details_pb2.BadRequest)
        for violation in detail.field_violations
    ]


@pytest.mark.parametrize("bad", BAD_IDS.values(), ids=BAD_IDS.keys())
async def test_every_bad_id_is_named(stack: Stack, bad: str) -> None:
    """A missing or ill-formed id is INVALID_ARGUMENT with a violation for each such field, without the value."""
    calls = {
        ("clerk_user_id", "clerk_org_id"): stack.sync.EnsureUserProfile(Profile(clerk_user_id=bad, clerk_org_id=bad)),
        ("clerk_org_id",): stack.sync.EnsureOrganization(Organization(clerk_org_id=bad)),
        ("svix_id",): stack.sync.ApplyClerkEvent(Apply(svix_id=bad, attempted_at=timestamp_of(1), body=b"{}")),
    }

    for fields, call in calls.items():
        error = await failure(call)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert (error_info(error).reason, error_info(error).domain) == ("INVALID_FIELD", DOMAIN)
        assert list(fields) == violated_fields(error)
        assert not bad or bad not in (error.details() or "")


async def test_longest_id(stack: Stack) -> None:
    """255 characters are an id still, and Clerk's prefixes are not asked for."""
    response = await stack.ensure_profile("u" * 255, "!" * 255)

    assert len(response.user_profile.clerk_user_id) == 255


PAIR = {"clerk_user_id": "u", "clerk_org_id": "o"}
IN_2096 = Timestamp(seconds=4_000_000_000)
TOO_LARGE = b" " * (1024 * 1024 + 1)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("EnsureUserProfile", Profile(**PAIR, token_issued_at=MILLISECONDS_AS_SECONDS), "token_issued_at"),
        ("EnsureUserProfile", Profile(**PAIR, token_issued_at=IN_2096), "token_issued_at"),
        ("EnsureOrganization", Organization(clerk_org_id="o", token_issued_at=IN_2096), "token_issued_at"),
        ("ApplyClerkEvent", Apply(svix_id="msg_1", body=b"{}"), "attempted_at"),
        ("ApplyClerkEvent", Apply(svix_id="msg_1", attempted_at=MILLISECONDS_AS_SECONDS), "attempted_at"),
        ("ApplyClerkEvent", Apply(svix_id="msg_1", attempted_at=timestamp_of(1), body=TOO_LARGE), "body"),
    ],
)
async def test_other_bad_fields(stack: Stack, method: str, request_: object, field: str) -> None:
    """Times that are none, that count milliseconds, and bodies over the limit are violations of their field."""
    error = await failure(getattr(stack.sync, method)(request_))

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert [field] == violated_fields(error)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (delivery_service_pb2.ListDeliveriesRequest(page_size=-1), "page_size"),
        (delivery_service_pb2.ListDeliveriesRequest(page_size=1001), "page_size"),
        (delivery_service_pb2.ListDeliveriesRequest(page_token="hello"), "page_token"),
        (delivery_service_pb2.ListDeliveriesRequest(page_token="é"), "page_token"),
        (delivery_service_pb2.ListDeliveriesRequest(outcome=99), "outcome"),  # type: ignore[arg-type]
    ],
)
async def test_bad_listing(stack: Stack, request_: object, field: str) -> None:
    """What cannot be listed is a violation of its field."""
    assert [field] == violated_fields(await failure(stack.deliveries.ListDeliveries(request_)))


async def test_request_id(stack: Stack) -> None:
    """A caller's request id comes back in the trailers, of failures too; without one the server makes one."""
    call = stack.sync.EnsureOrganization(Organization(clerk_org_id="org_1"), metadata=(("x-request-id", "abc-1"),))
    await call
    error = await failure(stack.sync.EnsureOrganization(Organization(), metadata=(("x-request-id", "abc-2"),)))
    own = stack.sync.EnsureOrganization(Organization(clerk_org_id="org_1"))
    await own

    assert trailers(await call.trailing_metadata())["x-request-id"] == "abc-1"
    assert trailers(error.trailing_metadata())["x-request-id"] == "abc-2"
    assert trailers(await own.trailing_metadata())["x-request-id"]


ALL_ERRORS = [
    (errors.InvalidFields({"field": "is missing"}), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    (errors.Refused(Verdict.USER_DELETED), grpc.StatusCode.FAILED_PRECONDITION, "USER_DELETED"),
    (errors.Refused(Verdict.ORGANIZATION_DELETED), grpc.StatusCode.FAILED_PRECONDITION, "ORGANIZATION_DELETED"),
    (errors.Refused(Verdict.MEMBERSHIP_REMOVED), grpc.StatusCode.FAILED_PRECONDITION, "MEMBERSHIP_REMOVED"),
    (errors.Refused(Verdict.EVIDENCE_TOO_OLD), grpc.StatusCode.FAILED_PRECONDITION, "EVIDENCE_TOO_OLD"),
    (errors.DeliveryNotFound(), grpc.StatusCode.NOT_FOUND, "DELIVERY_NOT_FOUND"),
    (errors.BodyUnreadable("no key"), grpc.StatusCode.FAILED_PRECONDITION, "BODY_UNREADABLE"),
    (errors.DeliveryContended(), grpc.StatusCode.ABORTED, "DELIVERY_CONTENDED"),
    (errors.Unauthenticated("text", missing=True), grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING"),
    (errors.Unauthenticated("text"), grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID"),
    (errors.NotAllowed("marked"), grpc.StatusCode.PERMISSION_DENIED, "METHOD_NOT_ALLOWED"),
    (
        errors.SessionTokenRefused(errors.SessionTokenProblem.MISSING, "text"),
        grpc.StatusCode.UNAUTHENTICATED,
        "SESSION_TOKEN_MISSING",
    ),
    (
        errors.SessionTokenRefused(errors.SessionTokenProblem.INVALID, "text"),
        grpc.StatusCode.UNAUTHENTICATED,
        "SESSION_TOKEN_INVALID",
    ),
    (
        errors.SessionTokenRefused(errors.SessionTokenProblem.MISMATCH, "text"),
        grpc.StatusCode.PERMISSION_DENIED,
        "SESSION_TOKEN_MISMATCH",
    ),
    (errors.KeysUnavailable("CLERKSYNC_CLERK_JWKS"), grpc.StatusCode.UNAVAILABLE, "KEYS_UNAVAILABLE"),
    (errors.Overloaded(), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    (errors.RateLimited(3), grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
    (errors.DatabaseUnavailable("marked"), grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
    (errors.ShuttingDown(), grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
    (errors.DatabaseRefused("marked"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    (RuntimeError("marked"), grpc.StatusCode.INTERNAL, "INTERNAL"),
]


@pytest.mark.parametrize(("error", "code", "reason"), ALL_ERRORS, ids=lambda value: getattr(value, "name", None))
def test_the_table(error: Exception, code: grpc.StatusCode, reason: str) -> None:
    """Each error has its code and one ErrorInfo; what passes tells when to come again; no detail for the log leaks."""
    status = status_of(error)

    assert code.value[0] == status.code
    assert [reason] == [info.reason for info in unpacked(status, error_details_pb2.ErrorInfo)]
    passes = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert passes == bool(unpacked(status, error_details_pb2.RetryInfo))
    assert "marked" not in status.message


def test_every_reason_is_used() -> None:
    """The contract names no reason that nothing answers, and nothing answers one that it does not name."""
    promised = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}

    assert promised == {reason for _, _, reason in ALL_ERRORS}


def unpacked(status: status_pb2.Status, kind: type) -> list[Any]:
    found = []
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):  # type: ignore[attr-defined]
            detail = kind()
            packed.Unpack(detail)
            found.append(detail)
    return found
