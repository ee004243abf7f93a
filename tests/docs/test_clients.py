"""docs/clients.md: every example runs, and what it says of names and metrics is so."""

import asyncio
import json
import subprocess
import sys
import textwrap
import time
import types
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import grpc.aio
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from docs.pages import page
from prometheus_client import REGISTRY

import clerksync
from clerksync import blocking
from clerksync.middleware import aiohttp as aiohttp_middleware
from clerksync.middleware import grpc_aio
from clerksync.observability.measures import COUNTS, COUNTS_BY, LATENCY, LEVELS
from clerksync.observability.prometheus import ClientCollector
from clerksync.testing import FakeSyncService

PAGE = page("docs/clients.md")
CLAIMS = {"sub": "user_ada", "o": {"id": "org_acme"}}
HEADERS = {"claims": json.dumps(CLAIMS)}


@pytest.fixture
def fake() -> Iterator[FakeSyncService]:
    with FakeSyncService() as running:
        yield running


def source(heading: str) -> str:
    """The Python of the section with this heading, the top of the page if it is empty."""
    text = "\n" + PAGE.text
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0] if heading else text.split("\n## ")[0]
    (code,) = [block.split("\n```")[0] for block in section.split("```python\n")[1:]]
    return code


@pytest.fixture
def example(fake: FakeSyncService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs the example of a section, with `yourapp.auth` as given and the fake in the place of SyncService."""
    clients: list[Any] = []

    def run(heading: str, **auth: object) -> dict[str, Any]:
        module = types.ModuleType("yourapp.auth")
        vars(module).update(auth)
        monkeypatch.setitem(sys.modules, "yourapp", types.ModuleType("yourapp"))
        monkeypatch.setitem(sys.modules, "yourapp.auth", module)
        namespace: dict[str, Any] = {"__name__": "example"}
        exec(compile(aimed(heading, fake), f"docs/clients.md: {heading}", "exec"), namespace)
        clients.append(namespace.get("client"))
        return namespace

    yield run
    for client in clients:
        if isinstance(client, blocking.SyncClient):
            client.close()


def aimed(heading: str, fake: FakeSyncService) -> str:
    return source(heading).replace("dns:///clerksync:50051", fake.target)


def claims_of(headers: Any) -> dict[str, Any] | None:
    """What verifying a session token comes to here."""
    found = headers.get("claims")
    return None if found is None else {**json.loads(found), "iat": time.time() - 5}


async def test_the_first_example_ensures_a_profile(example: Any, fake: FakeSyncService) -> None:
    """The example at the top of the page returns the profile."""
    profile = await example("")["who"]({"sub": "user_ada", "o": {"id": "org_acme"}, "iat": time.time()})

    assert fake.profile("user_ada", "org_acme") == profile


class Authenticate:
    """ASGI middleware that leaves claims in request.state.claims."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            scope.setdefault("state", {})["claims"] = claims_of(headers)
        await self.app(scope, receive, send)


async def asked_three_times(get: Any, fake: FakeSyncService) -> None:
    """A member, nobody, and somebody who was removed."""
    async with asyncio.timeout(10):
        # The budget is short for a machine that is busy with other tests.
        while (member := await get(HEADERS)) == (200, {"profile": None}):
            await asyncio.sleep(0.1)
    nobody = await get({})
    profile = fake.profile("user_ada", "org_acme")
    assert profile is not None
    fake.delete_user("user_eve")
    eve = {"claims": json.dumps({"sub": "user_eve", "org_id": "org_acme"})}
    async with asyncio.timeout(10):
        while (removed := await get(eve)) == (200, {"profile": None}):
            await asyncio.sleep(0.1)

    assert (200, {"profile": profile.id}) == member
    assert (200, {"profile": None}) == nobody
    assert 403 == removed[0]


async def test_fastapi(example: Any, fake: FakeSyncService) -> None:
    """The example for FastAPI serves members, strangers, and turns away the removed."""
    app = example("FastAPI and Starlette", Authenticate=Authenticate)["app"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as browser:

        async def get(headers: dict[str, str]) -> tuple[int, Any]:
            response = await browser.get("/", headers=headers)
            return response.status_code, response.json()

        await asked_three_times(get, fake)


async def test_fastapi_with_dependencies(example: Any, fake: FakeSyncService) -> None:
    """The example for FastAPI with dependencies does the same."""
    from fastapi import Request  # noqa: PLC0415

    def clerk_auth(request: Request) -> dict[str, Any] | None:
        return claims_of(request.headers)

    app = example("FastAPI with dependencies", clerk_auth=clerk_auth)["app"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as browser:

        async def get(headers: dict[str, str]) -> tuple[int, Any]:
            response = await browser.get("/", headers=headers)
            return response.status_code, response.json()

        await asked_three_times(get, fake)


async def test_aiohttp(example: Any, fake: FakeSyncService) -> None:
    """The example for aiohttp does the same."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Any) -> web.StreamResponse:
        request[aiohttp_middleware.CLAIMS] = claims_of(request.headers)
        response: web.StreamResponse = await handler(request)
        return response

    app = example("aiohttp", authenticate=authenticate)["app"]
    async with TestClient(TestServer(app)) as browser:

        async def get(headers: dict[str, str]) -> tuple[int, Any]:
            async with browser.get("/", headers=headers) as response:
                return response.status, await response.json()

        await asked_three_times(get, fake)


async def test_grpc_aio(example: Any, fake: FakeSyncService) -> None:
    """The example for grpc.aio gives handlers the profile, and denies the removed."""

    class AuthenticateCalls(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            grpc_aio.claims.set(claims_of(dict(handler_call_details.invocation_metadata)))
            return await continuation(handler_call_details)

    made = example("grpc.aio", Authenticate=AuthenticateCalls)
    server = made["server"]()
    handlers: Any = {"Hello": grpc.unary_unary_rpc_method_handler(made["hello"])}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("yourapp.Greeter", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        hello: Any = channel.unary_unary("/yourapp.Greeter/Hello")
        async with asyncio.timeout(10):
            while not (member := await hello(b"", metadata=tuple(HEADERS.items()))):
                await asyncio.sleep(0.1)
        nobody = await hello(b"")
        fake.delete_user("user_eve")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hello(b"", metadata=(("claims", json.dumps({"sub": "user_eve", "org_id": "org_acme"})),))
    await made["client"].close()
    await server.stop(None)
    profile = fake.profile("user_ada", "org_acme")

    assert profile is not None
    assert (profile.id.encode(), b"") == (member, nobody)
    assert grpc.StatusCode.PERMISSION_DENIED == caught.value.code()


DJANGO = """
import json, sys, time, types
from django.conf import settings

settings_of_the_example = {}
exec(sys.argv[1], settings_of_the_example)
auth = types.ModuleType("yourapp.auth")
sys.modules |= {"yourapp": types.ModuleType("yourapp"), "yourapp.auth": auth}
settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="yourapp.urls", USE_TZ=True, DATABASES={},
    REST_FRAMEWORK=settings_of_the_example.get("REST_FRAMEWORK", {}) | {"UNAUTHENTICATED_USER": None},
    MIDDLEWARE=settings_of_the_example.get("MIDDLEWARE", []), CLERKSYNC=settings_of_the_example["CLERKSYNC"],
)

def claims_of(headers):
    found = headers.get("claims")
    return None if found is None else {**json.loads(found), "iat": time.time() - 5}

class ClerkMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response
    def __call__(self, request):
        request.claims = claims_of(request.headers)
        return self.get_response(request)

class ClerkAuthentication:
    def authenticate(self, request):
        claims = claims_of(request.headers)
        return None if claims is None else (types.SimpleNamespace(is_authenticated=True), claims)
    def authenticate_header(self, request):
        return "Bearer"

auth.ClerkMiddleware, auth.ClerkAuthentication = ClerkMiddleware, ClerkAuthentication
import django
django.setup()
from django.http import JsonResponse
from django.test import Client
from django.urls import path

def hello(request):
    profile = request.user_profile
    return JsonResponse({"profile": profile and profile.id})

if "REST_FRAMEWORK" in settings_of_the_example:
    from rest_framework.decorators import api_view
    hello = api_view(["GET"])(hello)
urls = types.ModuleType("yourapp.urls")
urls.urlpatterns = [path("", hello)]
sys.modules["yourapp.urls"] = urls
from clerksync.middleware.django import client
assert client().ready()
for claims in json.loads(sys.argv[2]):
    response = Client().get("/", headers={} if claims is None else {"claims": json.dumps(claims)})
    print(json.dumps([response.status_code, response.json()]))
"""


@pytest.mark.parametrize("heading", ["Django", "Django REST framework"])
def test_django(heading: str, fake: FakeSyncService) -> None:
    """The settings shown for Django and for its REST framework serve members, strangers, and turn away the removed."""
    fake.delete_user("user_eve")
    asked = [CLAIMS, None, {"sub": "user_eve", "org_id": "org_acme"}]
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DJANGO), aimed(heading, fake), json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    profile = fake.profile("user_ada", "org_acme")

    assert profile is not None, ended.stderr
    assert [[200, {"profile": profile.id}], [200, {"profile": None}]] == answers[:2]
    assert 403 == answers[2][0]


async def test_flask(example: Any, fake: FakeSyncService) -> None:
    """The example for Flask does the same as the others."""
    import flask  # noqa: PLC0415

    def authenticate() -> None:
        flask.g.claims = claims_of(flask.request.headers)

    app = example("Flask", authenticate=authenticate)["app"]

    async def get(headers: dict[str, str]) -> tuple[int, Any]:
        response = app.test_client().get("/", headers=headers)
        return response.status_code, response.json

    await asked_three_times(get, fake)


async def test_without_a_framework(example: Any, fake: FakeSyncService) -> None:
    """The guard's example tells members, strangers and the removed apart."""
    made = example("Without a framework")
    fake.delete_user("user_eve")
    assert await made["client"].ready()
    member = await made["handle"]({**CLAIMS, "iat": time.time()})
    profile = fake.profile("user_ada", "org_acme")

    assert profile is not None
    assert [profile.id, "nobody", "403"] == [
        member,
        await made["handle"]({}),
        await made["handle"]({"sub": "user_eve", "org_id": "org_acme"}),
    ]
    await made["client"].close()


def test_identify(example: Any) -> None:
    """The example of an identify tells who is signed in, and that nobody is."""
    identify = example("Who is signed in")["identify"]
    session = types.SimpleNamespace(user_id="user_ada", organization_id="org_acme", issued_at=None)

    assert clerksync.Identity("user_ada", "org_acme") == identify(
        types.SimpleNamespace(state=types.SimpleNamespace(session=session))
    )
    assert identify(types.SimpleNamespace(state=types.SimpleNamespace(session=None))) is None


def test_without_asyncio(example: Any, fake: FakeSyncService) -> None:
    """The blocking example returns the profile."""
    profile_id = example("Without asyncio")["who"]({**CLAIMS, "iat": time.time()})
    profile = fake.profile("user_ada", "org_acme")

    assert profile is not None
    assert profile.id == profile_id


@pytest.fixture
async def registered() -> AsyncIterator[None]:
    """Takes back what an example has registered for the whole process."""
    yield
    for collector in [found for found in REGISTRY._collector_to_names if isinstance(found, ClientCollector)]:
        REGISTRY.unregister(collector)


@pytest.mark.usefixtures("registered")
async def test_watching(example: Any) -> None:
    """The example of metrics shows the client's numbers to Prometheus."""
    client = example("Watching it")["client"]
    await client.ensure_user_profile("user_ada", "org_acme")

    assert 1 == REGISTRY.get_sample_value("clerksync_client_misses_total")
    await client.close()


def test_testing(example: Any, fake: FakeSyncService) -> None:
    """The example of a test passes."""
    example("Testing your service")["test_members_get_in"](fake)


def test_every_metric_is_told() -> None:
    """The table of metrics names all that are exported, and no other."""
    exported = {f"clerksync_client_{measure.name}_total" for measure in (*COUNTS, *COUNTS_BY)}
    exported |= {f"clerksync_client_{level.name}_{level.unit}".rstrip("_") for level in LEVELS}
    exported.add(f"clerksync_client_{LATENCY[0]}_seconds")

    told = {name.strip("` ") for row in PAGE.table("metric", "tells") for name in row[0].split(",")}

    assert exported == told


def test_every_error_is_told() -> None:
    """The table of errors names all that a call can raise."""
    told = {word.strip("`,;") for row in PAGE.table("error", "means") for word in row[0].split() if word[0] == "`"}
    raised = {
        name
        for name in clerksync.__all__
        if isinstance(getattr(clerksync, name), type) and issubclass(getattr(clerksync, name), Exception)
    }

    assert raised - {"ClerksyncError"} == told


def test_every_option_is_told() -> None:
    """The page names all options of the client."""
    line = next(line for line in PAGE.text.splitlines() if line.startswith("Options of the client"))

    assert list(clerksync.ClientOptions.__annotations__) == [
        word.strip("`,;") for word in line.split() if word[0] == "`"
    ]
