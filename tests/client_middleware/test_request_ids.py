"""The ids of a request travel to SyncService."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from client_middleware import django_apps
from client_middleware.sample_apps import SampleApp

from clerksync import Identity, SyncClient
from clerksync.middleware.aiohttp import ensure_profile_middleware
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorder(sync_service_pb2_grpc.SyncServiceServicer):
    """Answers with any profile, and remembers what came along. It has no stream of removals."""

    def __init__(self) -> None:
        self.target = ""
        self.ids: list[dict[str, object]] = []

    def EnsureUserProfile(  # noqa: N802
        self, request: sync_service_pb2.EnsureUserProfileRequest, context: Any
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        metadata = dict(context.invocation_metadata())
        self.ids.append({name: metadata.get(name) for name in ("x-request-id", "traceparent")})
        profile = resources_pb2.UserProfile(id="1", clerk_user_id=request.clerk_user_id, clerk_org_id="org_1")
        return sync_service_pb2.EnsureUserProfileResponse(user_profile=profile)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()  # type: ignore[abstract]  # what is missing is UNIMPLEMENTED
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        sync_service_pb2_grpc.add_SyncServiceServicer_to_server(recorder, server)
        recorder.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield recorder
        server.stop(None).wait()


async def test_ids_travel(kind: type[SampleApp], serve: Any, recorder: Recorder) -> None:
    """`x-request-id` and `traceparent` of a request arrive as metadata; what is ill-formed, or absent, does not."""
    app = await serve(kind, recorder.target, budget_s=10)
    headers = [
        {"x-request-id": "r-1", "traceparent": TRACEPARENT},
        {"x-request-id": "r-2", "traceparent": "nonsense"},
        {},
    ]

    for number, each in enumerate(headers):
        token = {"sub": f"user_{number}", "iat": int(time.time()), "o": {"id": "org_1"}}
        answer = await app.get(token, each)
        assert f"user_{number}" == answer[1]["user"]

    assert [
        {"x-request-id": "r-1", "traceparent": TRACEPARENT},
        {"x-request-id": "r-2", "traceparent": None},
        {"x-request-id": None, "traceparent": None},
    ] == recorder.ids


async def test_django_leaves_no_ids_in_its_thread(serve: Any, recorder: Recorder) -> None:
    """What a thread asks after it has served a request does not carry that request's id."""
    app = await serve(django_apps.Django, recorder.target, budget_s=10)
    token = {"sub": "user_1", "iat": int(time.time()), "o": {"id": "org_1"}}

    def serve_and_ask() -> None:
        app.request_in_thread({"authorization": json.dumps(token), "x-request-id": "r-1"})
        app.client.ensure_user_profile("user_2", "org_1")

    await asyncio.to_thread(serve_and_ask)

    assert ["r-1", None] == [ids["x-request-id"] for ids in recorder.ids]


async def test_aiohttp_leaves_no_ids_in_its_task(recorder: Recorder) -> None:
    """Of two requests that one task serves, the second does not carry the id of the first."""

    def identify(request: web.Request) -> Identity | None:
        return Identity("user_1", "org_1") if "x-request-id" in request.headers else None

    async with SyncClient(recorder.target, cache_size=0) as client:
        middleware = ensure_profile_middleware(client, identify=identify, budget_s=10)

        async def handler(_: web.Request) -> web.Response:
            await client.ensure_user_profile("user_2", "org_1")
            return web.Response()

        await middleware(make_mocked_request("GET", "/", {"x-request-id": "r-1"}), handler)
        await middleware(make_mocked_request("GET", "/"), handler)

    assert ["r-1", "r-1", None] == [ids["x-request-id"] for ids in recorder.ids]
