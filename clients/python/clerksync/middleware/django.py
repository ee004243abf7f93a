"""Middleware for Django, under WSGI and ASGI alike.

    MIDDLEWARE = [..., "path.to.ClerkAuthMiddleware", "clerksync.middleware.django.EnsureProfileMiddleware"]
    CLERKSYNC = {"TARGET": "dns:///clerksync:50051"}

Views find the profile in `request.user_profile`: a `clerksync.UserProfile`, or None. Where a view authenticates by
itself, call `ensure_profile(request)` after that; Django REST framework has `clerksync.middleware.rest_framework`.

More keys of CLERKSYNC: IDENTIFY, a function, or the dotted path of one, which gets the request; PASS_SESSION_TOKEN,
which has SyncService verify the request's own token; BUDGET_S, ON_REMOVED, as for `clerksync.blocking.Guard`; and the
options of the client in capitals, for example CACHE_TTL_S.
"""

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.functional import LazyObject

from clerksync import blocking
from clerksync.identity import Identity
from clerksync.metadata import request_ids
from clerksync.middleware.django_settings import configured
from clerksync.middleware.incoming import identity_among, ids_in_headers
from clerksync.middleware.session_tokens import finder
from clerksync.policy import Decision, FindTokens
from clerksync.resources import UserProfile


def client() -> blocking.SyncClient:
    """The client of this process. Its `stats` count for the asynchronous requests as well."""
    return configured().client


def identity_on_request(request: HttpRequest) -> Identity | None:
    """Looks where authentication leaves claims: attributes of the request, such as `clerk_payload`, `auth`, `user`."""

    def left(name: str) -> object:
        found = attributes.get(name)
        # The user of a session comes from the database when somebody looks at it, and has no claims.
        return None if isinstance(found, LazyObject) else found

    # A request of Django REST framework wraps Django's own.
    for each in (request, getattr(request, "_request", None)):
        attributes = getattr(each, "__dict__", {})
        if (identity := identity_among(left)) is not None:
            return identity
    return None


def ensure_profile(request: HttpRequest) -> UserProfile | None:
    """For views that authenticate by themselves: call it after that. Raises PermissionDenied."""
    return _profile(copy_context().run(check, request))


async def aensure_profile(request: HttpRequest) -> UserProfile | None:
    """As `ensure_profile`, for `async` views."""
    return _profile(await acheck(request))


class EnsureProfileMiddleware:
    """Ensures the profile of whoever is signed in."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Raises ImproperlyConfigured if CLERKSYNC is wrong: when the server starts, not with the first request."""
        configured()
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        during = request_ids.set(None)
        try:
            decision = check(request)
            return _denial(decision) if decision.denied else self._get_response(request)
        finally:
            request_ids.reset(during)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        during = request_ids.set(None)
        try:
            decision = await acheck(request)
            return _denial(decision) if decision.denied else await self._get_response(request)
        finally:
            request_ids.reset(during)


def check(request: HttpRequest) -> Decision:
    """Ensures the profile, puts it on the request, and says what becomes of the request.

    Leaves the request's ids in the context: a thread serves other requests next, so whoever calls this undoes that.
    """
    identity = _identity(request)
    if (known := _known(request, identity)) is not None:
        return known
    return _now(request, identity, configured().guard.check(identity, _find_tokens(request, identity)))


async def acheck(request: HttpRequest) -> Decision:
    """As `check`, on an event loop, where each request has a context of its own."""
    identity = _identity(request)
    if (known := _known(request, identity)) is not None:
        return known
    decision = await configured().async_guard.check(identity, _find_tokens(request, identity))
    return _now(request, identity, decision)


def _identity(request: HttpRequest) -> Identity | None:
    identity = (configured().identify or identity_on_request)(request)
    if identity is not None:
        request_ids.set(ids_in_headers(request.headers))
    return identity


def _find_tokens(request: HttpRequest, identity: Identity | None) -> FindTokens | None:
    if identity is None:
        return None
    return finder(identity, request.headers.items(), wanted=configured().pass_session_token)


def _known(request: HttpRequest, identity: Identity | None) -> Decision | None:
    """What was decided earlier in this request, so that it does not wait twice: in the middleware and in the view."""
    asked_for, decision = getattr(request, "_clerksync_decision", (None, None))
    return decision if asked_for == identity else None


def _now(request: HttpRequest, identity: Identity | None, decision: Decision) -> Decision:
    request = getattr(request, "_request", request)
    request.user_profile = decision.profile
    request._clerksync_decision = identity, decision  # noqa: SLF001  (a name of ours on an object of Django's)
    return decision


def _profile(decision: Decision) -> UserProfile | None:
    if decision.denied:
        raise PermissionDenied(str(decision.refusal))
    return decision.profile


def _denial(decision: Decision) -> HttpResponseBase:
    return JsonResponse(decision.denial, status=403, headers={"Cache-Control": "no-store"})
