"""A dependency for FastAPI, for applications that authenticate in dependencies: those run after all middleware.

    clerk_auth = ClerkHTTPBearer(config=clerk_config)    # of fastapi-clerk-auth, or any dependency of your own
    Profile = Annotated[UserProfile | None, Depends(ensure_profile(client, claims=clerk_auth))]

    @app.get("/me")
    async def me(profile: Profile) -> ...

Who is removed gets a 403 (HTTPException) with `detail` {"code": …, "message": …}. The profile is in
`request.state.user_profile` as well, so the dependency may also stand in `dependencies=[…]` of an app or a router.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, HTTPException, WebSocketException
from starlette.requests import HTTPConnection

from clerksync.client import SyncClient
from clerksync.identity import Identity
from clerksync.metadata import request_ids
from clerksync.middleware.asgi import identity_in_scope
from clerksync.middleware.guards import guard_of
from clerksync.middleware.incoming import identity_in, ids_in_headers
from clerksync.middleware.session_tokens import finder
from clerksync.policy import BUDGET_S, Decision, OnRemoved
from clerksync.resources import UserProfile

Identify: TypeAlias = Callable[[Any], Identity | Awaitable[Identity | None] | None]
Dependency: TypeAlias = Callable[..., AsyncIterator[UserProfile | None]]


def ensure_profile(
    client: SyncClient,
    *,
    claims: Callable[..., Any] | None = None,
    identify: Identify = identity_in,
    budget_s: float = BUDGET_S,
    on_removed: OnRemoved = "refuse",
    pass_session_token: bool = False,
) -> Dependency:
    """Makes the dependency.

    `claims` is the dependency that authenticates; `identify` gets what it returns, and may be `async`. Without `claims`
    it looks for what an earlier dependency or a middleware has left on the request. `pass_session_token` has
    SyncService verify the request's own token.
    """
    guard = guard_of(client, budget_s, on_removed)

    def left_on_request(connection: HTTPConnection) -> Identity | None:
        connection.scope.setdefault("state", {})
        return identity_in_scope(connection.scope)

    if claims is None:
        claims, identify = left_on_request, _as_is

    async def ensured_profile(
        connection: HTTPConnection, left: Annotated[Any, Depends(claims)]
    ) -> AsyncIterator[UserProfile | None]:
        connection.state.user_profile = None
        identity = identify(left)
        if identity is not None and not isinstance(identity, Identity):
            identity = await identity
        if identity is None:
            yield None
            return
        find_tokens = finder(identity, connection.headers.items(), wanted=pass_session_token)
        during = request_ids.set(ids_in_headers(connection.headers))
        try:
            decision = await guard.check(identity, find_tokens)
            if decision.denied:
                raise _denied(decision, connection)
            connection.state.user_profile = decision.profile
            yield decision.profile
        finally:
            request_ids.reset(during)

    return ensured_profile


def _as_is(identity: Identity | None) -> Identity | None:
    return identity


def _denied(decision: Decision, connection: HTTPConnection) -> Exception:
    why = decision.denial["error"]
    if connection.scope["type"] == "websocket":
        return WebSocketException(1008, why["code"])
    return HTTPException(403, why, {"cache-control": "no-store"})
