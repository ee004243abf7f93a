"""An extension for Flask.

    profiles = EnsureProfile(app, client=clerksync.blocking.SyncClient("dns:///clerksync:50051"))

Views find the profile in `flask.g.user_profile`: a `clerksync.UserProfile`, or None. Authentication in a
`before_request` must be registered before this. Where a decorator of a view authenticates, call `profiles.ensure()`
after it.
"""

from collections.abc import Callable
from typing import TypeAlias

import flask

from clerksync import blocking
from clerksync.identity import Identity
from clerksync.metadata import request_ids
from clerksync.middleware.incoming import identity_among, ids_in_headers
from clerksync.middleware.session_tokens import finder
from clerksync.policy import BUDGET_S, Decision, OnRemoved
from clerksync.resources import UserProfile

Identify: TypeAlias = Callable[[flask.Request], Identity | None]


def identity_on_request(request: flask.Request) -> Identity | None:
    """Looks where authentication leaves claims: on `flask.g`, or as an attribute of the request."""
    return identity_among(flask.g.get) or identity_among(vars(request).get)


class EnsureProfile:
    """Ensures the profile of whoever is signed in, before each request."""

    def __init__(
        self,
        app: flask.Flask | None = None,
        *,
        client: blocking.SyncClient,
        identify: Identify = identity_on_request,
        budget_s: float = BUDGET_S,
        on_removed: OnRemoved = "refuse",
        pass_session_token: bool = False,
    ) -> None:
        """`identify` gets the request. `pass_session_token` has SyncService verify the request's own token.

        The rest is as for `clerksync.blocking.Guard`.
        """
        self._identify = identify
        self._pass_session_token = pass_session_token
        self._guard = blocking.Guard(client, budget_s=budget_s, on_removed=on_removed)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """For applications made by a factory."""
        app.before_request(self._before_request)
        app.teardown_request(_forget_ids)

    def ensure(self) -> UserProfile | None:
        """For views that authenticate in a decorator: call it after that. Ends the request with a 403 if denied."""
        decision = self._check()
        if decision.denied:
            flask.abort(_denial(decision))
        return decision.profile

    def _before_request(self) -> flask.Response | None:
        decision = self._check()
        return _denial(decision) if decision.denied else None

    def _check(self) -> Decision:
        flask.g.user_profile = None
        request = flask.request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  (Flask's own way)
        identity = self._identify(request)
        find_tokens = None
        if identity is not None:
            find_tokens = finder(identity, request.headers.items(), wanted=self._pass_session_token)
            request_ids.set(ids_in_headers(request.headers))
        decision = self._guard.check(identity, find_tokens)
        flask.g.user_profile = decision.profile
        return decision


def _denial(decision: Decision) -> flask.Response:
    response = flask.jsonify(decision.denial)
    response.status_code = 403
    response.headers["Cache-Control"] = "no-store"
    return response


def _forget_ids(_: BaseException | None) -> None:
    # The thread, and with it the context, serves other requests next.
    request_ids.set(None)
