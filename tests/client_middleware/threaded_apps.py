"""The sample applications that run on threads; Django's are in django_apps.py."""

from collections.abc import Mapping
from typing import Any

import flask
from client_middleware.sample_apps import Answer, ThreadedApp, claims_of

from clerksync import blocking
from clerksync.middleware.flask import EnsureProfile


class Flask(ThreadedApp):
    """A function that runs before requests authenticates, and leaves claims on `flask.g`."""

    async def start(self) -> None:
        await super().start()
        self.client = self.stop.enter_context(blocking.SyncClient(self.target))
        self.app = self.make(EnsureProfile(client=self.client, **self.rules))

    def make(self, profiles: EnsureProfile) -> flask.Flask:
        app = flask.Flask("sample")

        @app.before_request
        def authenticate() -> None:
            flask.g.clerk_payload = claims_of(flask.request.headers.get("authorization"))

        profiles.init_app(app)

        @app.get("/")
        def me() -> Any:
            return self.answer(flask.g.user_profile)

        return app

    def request_in_thread(self, headers: Mapping[str, str]) -> Answer:
        response = self.app.test_client(use_cookies=False).get("/", headers=dict(headers))
        if response.status_code == 403:
            assert "no-store" == response.headers["cache-control"]
        return response.status_code, response.get_json() if response.status_code in {200, 403} else None


class FlaskDecorator(Flask):
    """Authenticates in the view, as a decorator would."""

    def make(self, profiles: EnsureProfile) -> flask.Flask:
        app = flask.Flask("sample")
        profiles.init_app(app)

        @app.get("/")
        def me() -> Any:
            flask.g.clerk_payload = claims_of(flask.request.headers.get("authorization"))
            profile = profiles.ensure()
            assert profile == flask.g.user_profile
            return self.answer(profile)

        return app
