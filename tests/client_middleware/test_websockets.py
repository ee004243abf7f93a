"""WebSockets: refused before they are accepted."""

import asyncio
import time
from typing import Any

import pytest
from client_middleware.asyncio_apps import AsgiApp, FastAPIDependency, Litestar, Starlette
from client_middleware.sample_apps import SampleApp

from clerksync.testing import FakeSyncService


async def messages(app: Any, claims: str, extensions: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """What an application sends to a server that asks it to accept a WebSocket."""
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/socket",
        "raw_path": b"/socket",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"app"), (b"authorization", claims.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("app", 80),
        "subprotocols": [],
        "extensions": extensions,
    }
    if extensions is None:
        del scope["extensions"]
    sent: list[dict[str, Any]] = []
    received: list[dict[str, Any]] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]

    async def receive() -> dict[str, Any]:
        return received.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(dict(message))

    async with asyncio.timeout(10):
        await app(scope, receive, send)
    return sent


def claims(user: str) -> str:
    return f'{{"sub": "{user}", "iat": {int(time.time()) - 60}, "org_id": "org_1"}}'


@pytest.fixture(params=[Starlette, FastAPIDependency, Litestar], ids=lambda kind: kind.__name__)
async def app(request: pytest.FixtureRequest, serve: Any, fake: FakeSyncService) -> Any:
    sample: AsgiApp = await serve(request.param, fake.target, budget_s=10)
    return sample.make()


async def test_members_get_in(app: Any, fake: FakeSyncService) -> None:
    """A member's WebSocket is accepted, and its handler has the profile."""
    fake.join("user_ada", "org_1")

    sent = await messages(app, claims("user_ada"))

    assert ["websocket.accept", "websocket.send", "websocket.close"] == [message["type"] for message in sent]
    assert "user_ada" in (sent[1].get("text") or sent[1]["bytes"].decode())


async def test_the_removed_do_not(app: Any, fake: FakeSyncService) -> None:
    """Who was deleted is refused: the WebSocket is closed with 1008 (policy violation) and never accepted."""
    fake.delete_user("user_ada")

    sent = await messages(app, claims("user_ada"))

    assert [("websocket.close", 1008, "user_deleted")] == [
        (message["type"], message["code"], message["reason"]) for message in sent
    ]


@pytest.mark.parametrize("kind", [Starlette, Litestar])
async def test_refusal_with_a_body(kind: type[SampleApp], serve: Any, fake: FakeSyncService) -> None:
    """Where the server offers it, the refusal is an HTTP response that says why."""
    fake.delete_user("user_ada")
    app = (await serve(kind, fake.target, budget_s=10)).make()

    sent = await messages(app, claims("user_ada"), {"websocket.http.response": {}})

    assert ["websocket.http.response.start", "websocket.http.response.body"] == [message["type"] for message in sent]
    assert 403 == sent[0]["status"]
    assert b'"code": "user_deleted"' in sent[1]["body"]
