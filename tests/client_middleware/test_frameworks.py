"""What only one framework has."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest
import starlette.requests
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from client_middleware import asyncio_apps, django_apps
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, override_settings

import clerksync
from clerksync.middleware.aiohttp import ensure_profile_middleware
from clerksync.middleware.asgi import EnsureProfileMiddleware
from clerksync.middleware.django_settings import configured
from clerksync.middleware.fastapi import ensure_profile
from clerksync.middleware.grpc_aio import EnsureProfileInterceptor
from clerksync.middleware.guards import guard_of
from clerksync.testing import FakeSyncService

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


def claims(user: str) -> dict[str, Any]:
    return {"sub": user, "iat": int(time.time()) - 60, "o": {"id": "org_1"}}


def test_the_package_imports_no_framework() -> None:
    """A service that uses one framework needs none of the others."""
    code = "import sys, clerksync.middleware, clerksync.middleware.asgi; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert set() == {"aiohttp", "django", "fastapi", "flask", "litestar", "rest_framework", "starlette"} & set(loaded)


@pytest.mark.parametrize("app_kind", [asyncio_apps.Grpc, asyncio_apps.GrpcThreaded])
@pytest.mark.parametrize("method", KINDS)
async def test_grpc_kinds(method: str, app_kind: type[asyncio_apps.Grpc], serve: Any, fake: FakeSyncService) -> None:
    """Methods of all four kinds have the profile, and are denied to those who were removed."""
    fake.join("user_ada", "org_1")
    fake.delete_user("user_bob")
    app = await serve(app_kind, fake.target, budget_s=10)

    async def call(user: str) -> Any:
        return await app.request({"authorization": json.dumps(claims(user))}, kind=method)

    assert (200, "user_ada") == ((answer := await call("user_ada"))[0], answer[1]["user"])
    assert (403, "user_deleted") == ((answer := await call("user_bob"))[0], answer[1]["error"]["code"])
    assert 1 == app.handled


async def test_one_breaker_for_a_client(fake: FakeSyncService) -> None:
    """However many pieces of middleware use a client by the same rules, as Litestar's routes do, they share a guard."""

    async def app(*_: Any) -> None:
        raise AssertionError

    async with clerksync.SyncClient(fake.target) as client, clerksync.SyncClient(fake.target) as other:
        routes = [EnsureProfileMiddleware(app, client=client) for _ in range(3)]
        guard = guard_of(client, 0.05, "refuse")

        assert [guard] * 3 == [route._guard for route in routes]
        assert guard is not guard_of(client, 0.05, "continue")
        assert guard is not guard_of(other, 0.05, "refuse")


async def test_one_log_line_for_a_client(fake: FakeSyncService, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever kinds of middleware use a client, one log line tells of all requests that go on without an answer."""

    async def app(*_: Any) -> None:
        pass

    async def handler(_: object) -> web.Response:
        return web.Response()

    def identify(_: object) -> clerksync.Identity:
        return clerksync.Identity("user_1", "org_1")

    async with clerksync.SyncClient(fake.target) as client:
        scope: dict[str, Any] = {"type": "http", "headers": [], "state": {}}
        with fake.away():
            for _ in range(2):
                ensure: Any = EnsureProfileMiddleware(app, client=client, identify=identify)
                await ensure(scope, app, app)
                await ensure_profile_middleware(client, identify=identify)(make_mocked_request("GET", "/"), handler)
                dependency = ensure_profile(client, claims=app, identify=identify)
                connection = starlette.requests.HTTPConnection(scope)
                assert [None] == [profile async for profile in dependency(connection, None)]

        assert 6 == client.stats.unanswered.total()
        assert guard_of(client, 0.05, "refuse") is EnsureProfileInterceptor(client)._guard
    assert 1 == len(caplog.messages)


async def test_lifespan_passes_through(fake: FakeSyncService) -> None:
    """What is neither HTTP nor WebSocket is the application's alone."""
    seen = []

    async def app(scope: Any, _: Any, __: Any) -> None:
        seen.append(scope)

    async with clerksync.SyncClient(fake.target) as client:
        await EnsureProfileMiddleware(app, client=client)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]

    assert [{"type": "lifespan"}] == seen


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (None, "CLERKSYNC: expected a dict"),
        ({}, "CLERKSYNC['TARGET']: expected a gRPC target"),
        ({"TARGET": 17}, "CLERKSYNC['TARGET']: expected a gRPC target"),
        (
            {"TARGET": "x", "BUDGET": 1},
            "CLERKSYNC['BUDGET']: there is no such key; there are TARGET, IDENTIFY, PASS_SESSION_TOKEN",
        ),
        ({"TARGET": "x", "BUDGET_S": 0}, "CLERKSYNC['BUDGET_S']: expected more than 0"),
        ({"TARGET": "x", "ON_REMOVED": "ignore"}, "CLERKSYNC['ON_REMOVED']: expected \"refuse\""),
        ({"TARGET": "x", "CACHE_SIZE": -1}, "CLERKSYNC['CACHE_SIZE']: expected a whole number, 0 or more"),
        (
            {"TARGET": "x", "CACHE_TTL_S": "5"},
            "CLERKSYNC['CACHE_TTL_S']: expected more than 0 and at most 86400 seconds",
        ),
        ({"TARGET": "x", "IDENTIFY": "no.such.module"}, "CLERKSYNC['IDENTIFY']: No module named"),
        ({"TARGET": "x", "IDENTIFY": 17}, "CLERKSYNC['IDENTIFY']: expected a function"),
        ({"TARGET": "x", "IDENTIFY": asyncio_apps.Starlette.start}, "CLERKSYNC['IDENTIFY']: expected a function"),
    ],
)
def test_django_settings_are_checked_at_the_start(setting: Any, told: str) -> None:
    """A mistake in CLERKSYNC is told by its key when the middleware is loaded, not in production's first request."""
    with override_settings(CLERKSYNC=setting):
        configured.cache_clear()
        with pytest.raises(ImproperlyConfigured) as caught:
            Client().get("/sync")
        assert str(caught.value).startswith(told)


def identify_by_path(_: Any) -> clerksync.Identity:
    return clerksync.Identity("user_path", "org_1")


async def test_django_identify_by_path(serve: Any, fake: FakeSyncService) -> None:
    """IDENTIFY may be a dotted path, and options of the client are settings in capitals."""
    app = await serve(
        django_apps.Django,
        fake.target,
        budget_s=10,
        identify=f"{__name__}.identify_by_path",
        timeout_s=7.0,
        cache_size=0,
    )

    assert (200, "user_path") == ((answer := await app.get())[0], answer[1]["user"])
    assert (7.0, 0) == (app.client._options.timeout_s, app.client._options.cache_size)


async def test_django_view_that_authenticates_itself(serve: Any, fake: FakeSyncService) -> None:
    """`ensure_profile` brings the profile to a view, and raises PermissionDenied for those who were removed."""
    fake.delete_user("user_bob")
    app = await serve(django_apps.Django, fake.target, budget_s=10)
    app.path = "/authenticates-itself"

    assert (200, "user_ada") == ((answer := await app.get(claims("user_ada")))[0], answer[1]["user"])
    assert 403 == Client().get(app.path, headers={"authorization": json.dumps(claims("user_bob"))}).status_code
