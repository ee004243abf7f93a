"""Why a call of SyncService failed, for the log of who has to mend it."""

from collections.abc import Iterable
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

_LONGEST = 300


def why_of(error: grpc.aio.AioRpcError) -> str | None:
    """The reason that SyncService gives; else what gRPC says of the way to it, such as a certificate that failed.

    Neither holds anything of a delivery: SyncService's own texts are left out where it gives a reason.
    """
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):  # The details are garbage, or of another code: some proxy's doing.
        status = None
    if status is not None:
        return reason_among(status.details)
    details = (error.details() or "")[:_LONGEST]
    return "".join(character if character.isprintable() else "?" for character in details) or None


def reason_among(details: Iterable[Any]) -> str | None:
    """The reason of the ErrorInfo among the details of a status: a name of clerksync.v1.ErrorReason."""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in details if detail.Unpack(info)), None)
