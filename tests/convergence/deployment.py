"""Two fronts and two SyncServices on one database, reached as Clerk, sibling services and readers reach them."""

import json
import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import grpc.aio
from clerk_model.shapes import INSTANCE
from convergence.told import Profile, Tables
from running import Running
from stack import error_info, timestamp_of

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.app import Application
from clerksync_server.dev.sender import signed_headers
from clerksync_server.settings import load_settings

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2Vjb25kLWVuZHBvaW50LXNlY3JldA==")
"""Each endpoint signs with its own."""
_LONG_S = 60 * 24 * 60 * 60
_READ = """
select
    (select coalesce(json_agg(json_build_array(clerk_org_id, is_placeholder, name, slug, image_url)), '[]')
     from public.organization where clerk_org_id = any($1)),
    (select coalesce(json_agg(json_build_array(clerk_user_id, clerk_org_id, clerk_membership_id, role)), '[]')
     from public.user_profile where clerk_org_id = any($1) or clerk_user_id = any($2))
"""


@dataclass(frozen=True)
class Deployment:
    """A client of everything. One number picks the front or the service, so that work spreads over both."""

    webhook_urls: Sequence[str]
    stubs: Sequence[Any]
    http: aiohttp.ClientSession
    pool: "asyncpg.Pool[asyncpg.Record]"
    long_lived_tokens: bool
    """Whether tokens may be as old as a history is long."""

    @property
    def evidence_without_iat_ms(self) -> float:
        """What a call without `iat` counts as: later than any history, or earlier."""
        return -math.inf if self.long_lived_tokens else math.inf

    async def post(self, number: int, svix_id: str, body: bytes, *, endpoint: int) -> tuple[int, str]:
        """The status and, for success, the outcome."""
        url = self.webhook_urls[number % len(self.webhook_urls)]
        headers = signed_headers(SECRETS[endpoint], svix_id, body)
        async with self.http.post(url, data=body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text).get("outcome", text)

    async def ensure(self, number: int, user: str, organization: str, issued_at_s: int | None) -> str:
        """EnsureUserProfile: CREATED, EXISTED, or the reason for which it was refused."""
        request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=user, clerk_org_id=organization)
        if issued_at_s is not None:
            request.token_issued_at.CopyFrom(timestamp_of(issued_at_s * 1000))
        return await self._call(self._stub(number).EnsureUserProfile, request)

    async def ensure_organization(self, number: int, organization: str, issued_at_s: int | None) -> str:
        """EnsureOrganization: CREATED, EXISTED, or the reason for which it was refused."""
        request = sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=organization)
        if issued_at_s is not None:
            request.token_issued_at.CopyFrom(timestamp_of(issued_at_s * 1000))
        return await self._call(self._stub(number).EnsureOrganization, request)

    async def read(self, organizations: Collection[str], users: Collection[str]) -> Tables:
        """The rows that concern them, all as of one moment."""
        row = await self.pool.fetchrow(_READ, list(organizations), list(users))
        assert row is not None
        return Tables(
            organizations={
                key: None if is_placeholder else (name, slug, image_url)
                for key, is_placeholder, name, slug, image_url in json.loads(row[0])
            },
            profiles={(user, org): Profile(membership, role) for user, org, membership, role in json.loads(row[1])},
        )

    async def ledger(self, svix_ids: Collection[str]) -> Mapping[str, str]:
        """The outcome of each of these deliveries that the ledger holds."""
        query = "select svix_id, outcome from clerksync.webhook_delivery where svix_id = any($1)"
        return {row["svix_id"]: row["outcome"] for row in await self.pool.fetch(query, list(svix_ids))}

    def _stub(self, number: int) -> Any:
        return self.stubs[number // len(self.webhook_urls) % len(self.stubs)]

    @staticmethod
    async def _call(method: Any, request: Any) -> str:
        try:
            response = await method(request, timeout=20)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                return f"{error.code().name}: {error.details()}"
            return str(error_info(error).reason)
        return sync_service_pb2.EnsureOutcome.Name(response.outcome).removeprefix("ENSURE_OUTCOME_")


def _variables(database_url: str, *, long_lived_tokens: bool) -> dict[str, str]:
    variables = {
        "DATABASE_URL": database_url,
        "CLERK_WEBHOOK_SECRET": ",".join(SECRETS),
        "CLERK_INSTANCE_ID": INSTANCE,
        "CLERKSYNC_GRPC_LISTEN": "127.0.0.1:0",
        "CLERKSYNC_HTTP_LISTEN": "127.0.0.1:0",
        "CLERKSYNC_OPS_LISTEN": "127.0.0.1:0",
        "CLERKSYNC_SHUTDOWN_GRACE": "2",
    }
    return variables | ({"CLERKSYNC_MAX_TOKEN_AGE": str(_LONG_S)} if long_lived_tokens else {})


@asynccontextmanager
async def in_process(database_url: str, *, long_lived_tokens: bool = False) -> AsyncIterator[Deployment]:
    """Everything in this process."""
    variables = _variables(database_url, long_lived_tokens=long_lived_tokens)

    async def start(*, service: bool = False, front: bool = False, **more: str) -> Application:
        application = Application(load_settings(**(variables | more)), service=service, front=front, dev=True)
        await application.start()
        stop.push_async_callback(application.stop)
        return application

    async with AsyncExitStack() as stop:
        targets = [str((await start(service=True)).grpc_address) for _ in range(2)]
        fronts = [str((await start(front=True, CLERKSYNC_SERVICE_TARGET=target)).http_address) for target in targets]
        async with _clients(database_url, fronts, targets, long_lived_tokens=long_lived_tokens) as deployment:
            yield deployment


@asynccontextmanager
async def as_processes(database_url: str, *, long_lived_tokens: bool = False) -> AsyncIterator[Deployment]:
    """Each front and each SyncService is a process of its own."""
    variables = _variables(database_url, long_lived_tokens=long_lived_tokens)
    async with AsyncExitStack() as stop:
        services = [await stop.enter_async_context(Running("service", environment=variables)) for _ in range(2)]
        targets = [(await service.listening())["grpc"] for service in services]
        environments = [variables | {"CLERKSYNC_SERVICE_TARGET": target} for target in targets]
        running = [await stop.enter_async_context(Running("front", environment=each)) for each in environments]
        fronts = [(await front.listening())["http"] for front in running]
        async with _clients(database_url, fronts, targets, long_lived_tokens=long_lived_tokens) as deployment:
            yield deployment


@asynccontextmanager
async def _clients(
    database_url: str, fronts: Sequence[str], targets: Sequence[str], *, long_lived_tokens: bool
) -> AsyncIterator[Deployment]:
    async with AsyncExitStack() as close:
        http = await close.enter_async_context(aiohttp.ClientSession())
        channels = [await close.enter_async_context(grpc.aio.insecure_channel(target)) for target in targets]
        yield Deployment(
            webhook_urls=[f"http://{front}/webhooks/clerk" for front in fronts],
            stubs=[sync_service_pb2_grpc.SyncServiceStub(channel) for channel in channels],
            http=http,
            pool=await close.enter_async_context(asyncpg.create_pool(database_url, min_size=1, max_size=4)),
            long_lived_tokens=long_lived_tokens,
        )
