"""The sample applications that run on an event loop; Django's are in django_apps.py."""

import json
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import aiohttp.test_utils
import fastapi
import grpc
import grpc.aio
import httpx
import litestar
import starlette.applications
import starlette.middleware
import starlette.requests
import starlette.responses
import starlette.routing
from aiohttp import web
from client_middleware.sample_apps import Answer, SampleApp, claims_of
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware

import clerksync
from clerksync.middleware import grpc_aio
from clerksync.middleware.aiohttp import CLAIMS, USER_PROFILE, ensure_profile_middleware
from clerksync.middleware.asgi import App, EnsureProfileMiddleware, Receive, Scope, Send
from clerksync.middleware.fastapi import ensure_profile


class Authenticate:
    """As a middleware around authenticate_request() of Clerk's SDK would."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            authorization = dict(scope["headers"]).get(b"authorization")
            claims = None if authorization is None else claims_of(authorization.decode())
            scope.setdefault("state", {})["clerk_auth"] = claims
        await self.app(scope, receive, send)


class AsgiApp(SampleApp):
    """What the applications for ASGI share."""

    client: clerksync.SyncClient

    async def start(self) -> None:
        self.client = await self.stop.enter_async_context(clerksync.SyncClient(self.target))
        transport = httpx.ASGITransport(self.make(), raise_app_exceptions=False)
        self.browser = await self.stop.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://app")
        )

    @abstractmethod
    def make(self) -> Any: ...

    async def request(self, headers: Mapping[str, str]) -> Answer:
        response = await self.browser.get("/", headers=dict(headers))
        if response.status_code == 403:
            assert ("application/json", "no-store") == (
                response.headers["content-type"],
                response.headers["cache-control"],
            )
        return response.status_code, response.json() if response.status_code in {200, 403} else None


class Starlette(AsgiApp):
    """A middleware authenticates, and leaves claims in `request.state`."""

    def make(self) -> Any:
        async def me(request: starlette.requests.Request) -> starlette.responses.JSONResponse:
            return starlette.responses.JSONResponse(self.answer(request.state.user_profile))

        async def socket(websocket: Any) -> None:
            await websocket.accept()
            await websocket.send_json(self.answer(websocket.state.user_profile))
            await websocket.close()

        app = starlette.applications.Starlette(
            routes=[starlette.routing.Route("/", me), starlette.routing.WebSocketRoute("/socket", socket)]
        )
        app.add_middleware(EnsureProfileMiddleware, client=self.client, **self.rules)
        app.add_middleware(Authenticate)
        return app


class FastAPI(AsgiApp):
    """As Starlette, with a handler that runs in a thread."""

    def make(self) -> Any:
        app = fastapi.FastAPI()
        app.add_middleware(EnsureProfileMiddleware, client=self.client, **self.rules)
        app.add_middleware(Authenticate)

        @app.get("/")
        def me(request: fastapi.Request) -> dict[str, str | None]:
            return self.answer(request.state.user_profile)

        return app


class FastAPIDependency(AsgiApp):
    """A dependency authenticates."""

    def make(self) -> Any:
        app = fastapi.FastAPI()

        def clerk_auth(connection: starlette.requests.HTTPConnection) -> Any:
            return claims_of(connection.headers.get("authorization"))

        profile = ensure_profile(self.client, claims=clerk_auth, **self.rules)

        @app.get("/")
        async def me(
            request: fastapi.Request, profile: Annotated[clerksync.UserProfile | None, fastapi.Depends(profile)]
        ) -> dict[str, str | None]:
            assert profile == request.state.user_profile
            return self.answer(profile)

        @app.websocket("/socket")
        async def socket(
            websocket: fastapi.WebSocket, profile: Annotated[clerksync.UserProfile | None, fastapi.Depends(profile)]
        ) -> None:
            await websocket.accept()
            await websocket.send_json(self.answer(profile))
            await websocket.close()

        return app

    async def request(self, headers: Mapping[str, str]) -> Answer:
        status, body = await super().request(headers)
        return status, {"error": body["detail"]} if status == 403 else body


class Litestar(AsgiApp):
    """A middleware authenticates as Litestar's guide says, and leaves claims in `request.auth`."""

    def make(self) -> Any:
        class Auth(AbstractAuthenticationMiddleware):
            async def authenticate_request(
                self, connection: ASGIConnection[Any, Any, Any, Any]
            ) -> AuthenticationResult:
                return AuthenticationResult(user=None, auth=claims_of(connection.headers.get("authorization")))

        @litestar.get("/")
        async def me(request: litestar.Request[Any, Any, Any]) -> dict[str, str | None]:
            return self.answer(request.state.user_profile)

        @litestar.websocket("/socket")
        async def socket(socket: litestar.WebSocket[Any, Any, Any]) -> None:
            await socket.accept()
            await socket.send_json(self.answer(socket.state.user_profile))
            await socket.close()

        ensure: Any = EnsureProfileMiddleware
        return litestar.Litestar(
            [me, socket],
            middleware=[Auth, DefineMiddleware(ensure, client=self.client, **self.rules)],
            logging_config=None,
        )


class Aiohttp(SampleApp):
    """A middleware authenticates, and leaves claims under our key."""

    async def start(self) -> None:
        self.client = client = await self.stop.enter_async_context(clerksync.SyncClient(self.target))

        @web.middleware
        async def authenticate(request: web.Request, handler: Any) -> Any:
            request[CLAIMS] = claims_of(request.headers.get("authorization"))
            return await handler(request)

        async def me(request: web.Request) -> web.Response:
            return web.json_response(self.answer(request[USER_PROFILE]))

        app = web.Application(middlewares=[authenticate, ensure_profile_middleware(client, **self.rules)])
        app.router.add_get("/", me)
        server = aiohttp.test_utils.TestServer(app)
        self.browser = await self.stop.enter_async_context(aiohttp.test_utils.TestClient(server))

    async def request(self, headers: Mapping[str, str]) -> Answer:
        async with self.browser.get("/", headers=headers) as response:
            if response.status == 403:
                assert "no-store" == response.headers["cache-control"]
            return response.status, await response.json() if response.status in {200, 403} else None


class Grpc(SampleApp):
    """PERMISSION_DENIED counts as 403, UNKNOWN as 500."""

    threaded = False

    async def start(self) -> None:
        self.client = client = await self.stop.enter_async_context(clerksync.SyncClient(self.target))
        interceptors = [AuthenticateCalls(), grpc_aio.EnsureProfileInterceptor(client, **self.rules)]
        server = grpc.aio.server(interceptors=interceptors)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("sample.Sample", self._handlers())])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.stop.push_async_callback(server.stop, None)
        self.channel = await self.stop.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))

    def _handlers(self) -> dict[str, Any]:
        def answer() -> bytes:
            return json.dumps(self.answer(grpc_aio.user_profile.get())).encode()

        async def one(_: object, __: object) -> bytes:
            return answer()

        async def many(_: object, __: object) -> Any:
            yield answer()

        if self.threaded:
            return {
                "unary_unary": grpc.unary_unary_rpc_method_handler(lambda _, __: answer()),
                "unary_stream": grpc.unary_stream_rpc_method_handler(lambda _, __: iter([answer()])),
                "stream_unary": grpc.stream_unary_rpc_method_handler(lambda _, __: answer()),
                "stream_stream": grpc.stream_stream_rpc_method_handler(lambda _, __: iter([answer()])),
            }
        return {
            "unary_unary": grpc.unary_unary_rpc_method_handler(one),
            "unary_stream": grpc.unary_stream_rpc_method_handler(many),
            "stream_unary": grpc.stream_unary_rpc_method_handler(one),
            "stream_stream": grpc.stream_stream_rpc_method_handler(many),
        }

    async def request(self, headers: Mapping[str, str], *, kind: str = "unary_unary") -> Answer:
        method: Any = getattr(self.channel, kind)(f"/sample.Sample/{kind}")
        call = method(b"" if kind.startswith("unary") else iter([b""]), metadata=tuple(headers.items()), timeout=30)
        try:
            return 200, json.loads(await (call if kind.endswith("unary") else anext(aiter(call))))
        except grpc.aio.AioRpcError as error:
            failed = error
        if failed.code() == grpc.StatusCode.UNKNOWN:
            return 500, None
        status: Any = rpc_status.from_call(failed)
        assert (grpc.StatusCode.PERMISSION_DENIED, 1) == (failed.code(), len(status.details))
        info = error_details_pb2.ErrorInfo()
        status.details[0].Unpack(info)
        assert "clerksync" == info.domain
        return 403, {"error": {"code": info.reason.lower(), "message": failed.details()}}


class GrpcThreaded(Grpc):
    """Its methods are not async: grpc.aio runs them in threads."""

    threaded = True


class AuthenticateCalls(grpc.aio.ServerInterceptor):
    """Sets the claims for those that come after it."""

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        metadata: dict[Any, Any] = dict(details.invocation_metadata)
        grpc_aio.claims.set(claims_of(metadata.get("authorization")))
        return await continuation(details)
