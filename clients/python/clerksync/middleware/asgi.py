"""Middleware for ASGI: FastAPI, Starlette, Litestar.

    app.add_middleware(EnsureProfileMiddleware, client=client)                            # FastAPI, Starlette
    Litestar(middleware=[Auth, DefineMiddleware(EnsureProfileMiddleware, client=client)])  # Litestar

Handlers find the profile in `request.state.user_profile`: a `clerksync.UserProfile`, or None. Starlette and FastAPI run
first what was added last, so authentication is added after this.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from clerksync.client import SyncClient
from clerksync.identity import Identity
from clerksync.metadata import request_ids
from clerksync.middleware.guards import guard_of
from clerksync.middleware.incoming import identity_among, identity_in, ids_in_pairs
from clerksync.middleware.session_tokens import finder
from clerksync.policy import BUDGET_S, Decision, OnRemoved

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Identify: TypeAlias = Callable[[Scope], Identity | Awaitable[Identity | None] | None]

_POLICY_VIOLATION = 1008


def identity_in_scope(scope: Scope) -> Identity | None:
    """Looks where authentication leaves claims: `request.auth`, `request.user`, and `request.state`."""
    # The first two are properties of the scope, for which Starlette has assertions: these are looked up without.
    for name in ("auth", "user"):
        left = scope.get(name)
        if left is not None and (identity := identity_in(left)) is not None:
            return identity
    return identity_among(scope["state"].get)


class EnsureProfileMiddleware:
    """Ensures the profile of whoever is signed in, for HTTP and WebSocket."""

    def __init__(
        self,
        app: App,
        *,
        client: SyncClient,
        identify: Identify = identity_in_scope,
        budget_s: float = BUDGET_S,
        on_removed: OnRemoved = "refuse",
        pass_session_token: bool = False,
    ) -> None:
        """`identify` gets the scope; it may be `async`.

        `pass_session_token` has SyncService verify the request's own token. The rest is as for
        `clerksync.policy.Guard`.
        """
        self.app = app
        self._identify = identify
        self._pass_session_token = pass_session_token
        self._guard = guard_of(client, budget_s, on_removed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["user_profile"] = None
        identity = self._identify(scope)
        if identity is not None and not isinstance(identity, Identity):
            identity = await identity
        if identity is None:
            await self.app(scope, receive, send)
            return
        find_tokens = finder(identity, scope["headers"], wanted=self._pass_session_token)
        during = request_ids.set(ids_in_pairs(scope["headers"]))
        try:
            decision = await self._guard.check(identity, find_tokens)
            if decision.denied:
                await _deny(decision, scope, send)
                return
            state["user_profile"] = decision.profile
            await self.app(scope, receive, send)
        finally:
            request_ids.reset(during)


async def _deny(decision: Decision, scope: Scope, send: Send) -> None:
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # Closed before it was accepted: the server answers the handshake with a bare 403.
            reason = decision.denial["error"]["code"]
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})
            return
        kind = "websocket.http"
    body = json.dumps(decision.denial).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": f"{kind}.response.start", "status": 403, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
