"""Where the default `identify` finds claims: what real integrations of Clerk leave on a request."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from client_middleware import django_apps  # noqa: F401  (makes Django's settings)
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from clerksync import Identity
from clerksync.middleware import asgi, django, incoming

ISSUED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CLAIMS = {"sub": "user_ada", "iat": int(ISSUED_AT.timestamp()), "o": {"id": "org_1"}}
ADA = Identity("user_ada", "org_1", ISSUED_AT)


@dataclass
class RequestState:
    """As of clerk-backend-api 7: what authenticate_request() returns."""

    payload: dict[str, Any] | None


@dataclass
class SessionAuthObjectV2:
    """As of clerk-backend-api 7: what RequestState.to_auth() returns."""

    sub: str | None = "user_ada"
    iat: int | None = CLAIMS["iat"]  # type: ignore[assignment]
    org_id: str | None = "org_1"


@dataclass
class HTTPAuthorizationCredentials:
    """As of fastapi-clerk-auth 0.0.9."""

    scheme: str = "Bearer"
    credentials: str = "token"
    decoded: dict[str, Any] | None = field(default_factory=lambda: dict(CLAIMS))


@dataclass
class Token:
    """As of Litestar 2: what its JWTAuth leaves in `request.auth`; claims that it does not know are in `extras`."""

    sub: str = "user_ada"
    iat: datetime = ISSUED_AT
    extras: dict[str, Any] = field(default_factory=lambda: {"o": CLAIMS["o"]})


class Hostile:
    """Anything may be on a request."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "left",
    [
        CLAIMS,
        RequestState(CLAIMS),
        SessionAuthObjectV2(),
        HTTPAuthorizationCredentials(),
        SimpleNamespace(clerk_claims=CLAIMS),
        {"is_authenticated": True, "id": "user_ada", "decoded_token": CLAIMS},
        Token(),
    ],
    ids=["claims", "RequestState", "to_auth", "fastapi-clerk-auth", "clerk-auth-django", "clerk-django", "Litestar"],
)
def test_what_integrations_leave(left: object) -> None:
    """The claims themselves are found, and those within the objects of the common integrations."""
    assert ADA == incoming.identity_in(left)


@pytest.mark.parametrize(
    "left",
    [
        None,
        "user_ada",
        17,
        [CLAIMS],
        {},
        {"payload": "x"},
        {"payload": {"user": "user_ada"}},
        RequestState(None),
        HTTPAuthorizationCredentials(decoded=None),
        SessionAuthObjectV2(sub=None),
        SimpleNamespace(sub=17),
        SimpleNamespace(claims=CLAIMS["sub"]),
        pytest.param(Hostile(), id="hostile"),
    ],
)
def test_odd_shapes(left: object) -> None:
    """Whatever else is there counts as nobody, and never fails the request."""
    assert None is incoming.identity_in(left)


def test_first_of_several() -> None:
    """What tells of nobody is passed over, whatever comes first."""
    left: dict[str, object] = {"clerk_auth": RequestState(None), "clerk": Hostile(), "user": CLAIMS, "other": CLAIMS}

    assert ADA == incoming.identity_among(left.get)
    assert None is incoming.identity_among({"other": CLAIMS}.get)


@pytest.mark.parametrize("scope", [{"auth": CLAIMS}, {"user": RequestState(CLAIMS)}, {"state": {"auth": CLAIMS}}])
def test_asgi(scope: dict[str, Any]) -> None:
    """Under ASGI, `request.auth` and `request.user` are looked at, and the state."""
    assert ADA == asgi.identity_in_scope({"state": {}, **scope})


def test_django_leaves_users_of_sessions_alone() -> None:
    """Looking for claims loads no user from the database: a user of a session has none."""

    def load() -> NoReturn:
        raise AssertionError("loaded")

    request = HttpRequest()
    request.user = SimpleLazyObject(load)
    assert None is django.identity_on_request(request)

    request.user = SimpleNamespace(clerk_claims=CLAIMS)
    assert ADA == django.identity_on_request(request)
