"""Middleware for aiohttp.

    app = web.Application(middlewares=[authenticate, ensure_profile_middleware(client)])

Handlers find the profile in `request[USER_PROFILE]`: a `clerksync.UserProfile`, or None.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiohttp import web

from clerksync.client import SyncClient
from clerksync.identity import Identity
from clerksync.metadata import request_ids
from clerksync.middleware.guards import guard_of
from clerksync.middleware.incoming import identity_among, identity_in, ids_in_headers
from clerksync.middleware.session_tokens import finder
from clerksync.policy import BUDGET_S, OnRemoved
from clerksync.resources import UserProfile

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

Identify: TypeAlias = Callable[[web.Request], Identity | Awaitable[Identity | None] | None]

# Before aiohttp 3.14 there are no typed keys, and these are plain names.
_key: Any = getattr(web, "RequestKey", lambda name, _: name)
USER_PROFILE: "Final[web.RequestKey[UserProfile | None]]" = _key("user_profile", UserProfile)
"""The profile, for handlers: `request[USER_PROFILE]`."""
CLAIMS: "Final[web.RequestKey[Any]]" = _key("claims", object)
"""Where authentication may leave the verified claims, or what holds them: `request[CLAIMS] = …`."""


def identity_on_request(request: web.Request) -> Identity | None:
    """Looks where authentication leaves claims: `request[CLAIMS]`, or a plain name such as `request["clerk"]`."""
    return identity_in(request.get(CLAIMS)) or identity_among(request.get)


def ensure_profile_middleware(
    client: SyncClient,
    *,
    identify: Identify = identity_on_request,
    budget_s: float = BUDGET_S,
    on_removed: OnRemoved = "refuse",
    pass_session_token: bool = False,
) -> "Middleware":
    """Makes the middleware. `identify` gets the request, and may be `async`.

    `pass_session_token` has SyncService verify the request's own token. The rest is as for `policy.Guard`.
    """
    guard = guard_of(client, budget_s, on_removed)

    @web.middleware
    async def ensure_profile(request: web.Request, handler: "Handler") -> web.StreamResponse:
        request[USER_PROFILE] = None
        identity = identify(request)
        if identity is not None and not isinstance(identity, Identity):
            identity = await identity
        if identity is None:
            return await handler(request)
        find_tokens = finder(identity, request.headers.items(), wanted=pass_session_token)
        during = request_ids.set(ids_in_headers(request.headers))
        try:
            decision = await guard.check(identity, find_tokens)
            if decision.denied:
                return web.json_response(decision.denial, status=403, headers={"Cache-Control": "no-store"})
            request[USER_PROFILE] = decision.profile
            return await handler(request)
        finally:
            request_ids.reset(during)

    return ensure_profile
