"""Drives the whole stack from outside, as Clerk and sibling services do: HTTP and gRPC only."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import asyncpg
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from clerksync.v1 import delivery_service_pb2_grpc, sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.app import Application
from clerksync_server.dev.sender import signed_headers
from clerksync_server.settings import Settings

WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Answer:
    """What the front answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def outcome(self) -> str:
        return str(self.json["outcome"])


def new_svix_id() -> str:
    return f"msg_{secrets.token_hex(12)}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Stack:
    """A running front and SyncService."""

    def __init__(self, application: Application, settings: Settings) -> None:
        assert application.http_address is not None
        assert application.grpc_address is not None
        assert application.ops_address is not None
        assert settings.database_url is not None
        self.application = application
        self.database_url = settings.database_url.get_secret_value()
        self.webhook_url = f"http://{application.http_address}/webhooks/clerk"
        self.ops_url = f"http://{application.ops_address}"
        self.target = str(application.grpc_address)

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession()
        self.channel = grpc.aio.insecure_channel(self.target)
        self.sync: Any = sync_service_pb2_grpc.SyncServiceStub(self.channel)
        self.deliveries: Any = delivery_service_pb2_grpc.DeliveryServiceStub(self.channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.http.close()
        await self.channel.close(None)

    async def post(
        self,
        body: bytes | dict[str, Any],
        *,
        svix_id: str | None = None,
        secret: str = WEBHOOK_SECRET,
        family: str = "svix",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Posts a signed delivery. `headers` replace the signed ones."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if headers is None:
            headers = signed_headers(secret, svix_id or new_svix_id(), raw, family=family)
        async with self.http.post(self.webhook_url, data=raw, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def ensure_profile(
        self, clerk_user_id: str, clerk_org_id: str, issued_at_ms: int | None = None
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=clerk_user_id, clerk_org_id=clerk_org_id)
        if issued_at_ms is not None:
            request.token_issued_at.CopyFrom(timestamp_of(issued_at_ms))
        response: sync_service_pb2.EnsureUserProfileResponse = await self.sync.EnsureUserProfile(request, timeout=10)
        return response

    async def ensure_organization(
        self, clerk_org_id: str, issued_at_ms: int | None = None
    ) -> sync_service_pb2.EnsureOrganizationResponse:
        request = sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=clerk_org_id)
        if issued_at_ms is not None:
            request.token_issued_at.CopyFrom(timestamp_of(issued_at_ms))
        response: sync_service_pb2.EnsureOrganizationResponse = await self.sync.EnsureOrganization(request, timeout=10)
        return response

    async def rows(self, query: str, *arguments: object) -> Sequence[dict[str, Any]]:
        """What a reader of the database sees."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return [dict(record) for record in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()


def timestamp_of(milliseconds: int) -> Timestamp:
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The one ErrorInfo of a failed call."""
    infos = [detail for detail in error_details(error) if isinstance(detail, error_details_pb2.ErrorInfo)]
    assert len(infos) == 1
    return infos[0]


def error_details(error: grpc.aio.AioRpcError) -> list[Any]:
    """The details of a failed call, unpacked."""
    status = rpc_status.from_call(error)
    assert status is not None, "the call has no google.rpc.Status"
    details = []
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                unpacked = kind()
                packed.Unpack(unpacked)
                details.append(unpacked)
    return details
