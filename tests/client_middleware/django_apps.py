"""The sample applications for Django: under WSGI, under ASGI, and with Django REST framework."""

from collections.abc import Mapping
from typing import Any, ClassVar

import django
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from client_middleware.sample_apps import Answer, SampleApp, ThreadedApp, claims_of
from django.conf import settings

_OURS = "clerksync.middleware.django.EnsureProfileMiddleware"
_AUTHENTICATE = f"{__name__}.Authenticate"
if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[_AUTHENTICATE, _OURS],
        SECRET_KEY="x" * 50,
        REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
        LOGGING_CONFIG=None,
    )
    django.setup()

from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from clerksync.middleware.django import client, ensure_profile  # noqa: E402
from clerksync.middleware.django_settings import configured  # noqa: E402
from clerksync.middleware.rest_framework import ProfileEnsured  # noqa: E402

_serving: list[SampleApp] = []
"""The one that is being served."""


class Authenticate:
    """A middleware that leaves claims on the request."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if request.path in {"/sync", "/async", "/both"}:
            request.clerk_payload = claims_of(request.headers.get("authorization"))
        return self._get_response(request)


def me(request: HttpRequest) -> JsonResponse:
    return JsonResponse(_serving[0].answer(request.user_profile))


async def async_me(request: HttpRequest) -> JsonResponse:
    return JsonResponse(_serving[0].answer(request.user_profile))


def authenticates_itself(request: HttpRequest) -> JsonResponse:
    assert request.user_profile is None
    request.clerk_payload = claims_of(request.headers.get("authorization"))
    return JsonResponse(_serving[0].answer(ensure_profile(request)))


class ClerkAuthentication(BaseAuthentication):  # type: ignore[misc]  # it comes without types
    """What authenticates for Django REST framework: the claims are `request.auth`."""

    def authenticate(self, request: Any) -> Any:
        claims = claims_of(request.headers.get("authorization"))
        return None if claims is None else (object(), claims)


class Me(APIView):  # type: ignore[misc]  # it comes without types
    """The route, as a view of Django REST framework."""

    authentication_classes: ClassVar = [ClerkAuthentication]
    permission_classes: ClassVar = [ProfileEnsured]

    def get(self, request: Any) -> Response:
        return Response(_serving[0].answer(request.user_profile))


urlpatterns = [
    path("sync", me),
    path("async", async_me),
    path("rest", Me.as_view()),
    path("both", Me.as_view()),
    path("authenticates-itself", authenticates_itself),
]


def _settings(app: SampleApp) -> dict[str, Any]:
    return {"TARGET": app.target, **{name.upper(): value for name, value in app.rules.items()}}


def _answer(response: Any) -> Answer:
    if response.status_code == 403 and "error" in response.json():
        assert "application/json" == response["content-type"]
    return response.status_code, response.json() if response.status_code in {200, 403} else None


class Django(ThreadedApp):
    """Under WSGI."""

    path = "/sync"
    middleware: ClassVar = [_AUTHENTICATE, _OURS]

    async def start(self) -> None:
        await super().start()
        self.stop.enter_context(override_settings(CLERKSYNC=_settings(self), MIDDLEWARE=self.middleware))
        self.client = client()
        _serving.append(self)
        self.stop.callback(_serving.clear)

    def request_in_thread(self, headers: Mapping[str, str]) -> Answer:
        return _answer(Client(raise_request_exception=False).get(self.path, headers=headers))


class DjangoRest(Django):
    """The view authenticates; the middleware has seen nobody."""

    path = "/rest"


class DjangoTwice(Django):
    """The middleware has asked already when the permission does."""

    path = "/both"


class DjangoRestWithoutMiddleware(Django):
    """The permission does it alone."""

    path = "/rest"
    middleware: ClassVar = []


class DjangoAsync(SampleApp):
    """Under ASGI."""

    async_identify = False

    async def start(self) -> None:
        self.stop.enter_context(override_settings(CLERKSYNC=_settings(self)))
        self.client = configured().async_client
        self.stop.push_async_callback(self.client.close)
        _serving.append(self)
        self.stop.callback(_serving.clear)

    async def request(self, headers: Mapping[str, str]) -> Answer:
        return _answer(await AsyncClient(raise_request_exception=False).get("/async", headers=headers))
