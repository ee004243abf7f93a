"""The floor of deliveries, and their first stages: an answer, after the body was read, and after svix verified it."""

import os
import sys
from collections.abc import Awaitable, Callable

from aiohttp import web
from svix.webhooks import Webhook

from bench.servers.serving import serve, start_http

_BODY = b'{"outcome": "applied"}'


def _answer() -> web.Response:
    return web.Response(body=_BODY, content_type="application/json")


async def _echo(request: web.Request) -> web.Response:
    return _answer()


async def _read(request: web.Request) -> web.Response:
    await request.read()
    return _answer()


def _verify() -> Callable[[web.Request], Awaitable[web.Response]]:
    webhook = Webhook(os.environ["CLERK_WEBHOOK_SECRET"])

    async def handle(request: web.Request) -> web.Response:
        webhook.verify(await request.read(), dict(request.headers))
        return _answer()

    return handle


async def _start() -> int:
    app = web.Application()
    handler = {"echo": lambda: _echo, "read": lambda: _read, "verify": _verify}[sys.argv[1]]()
    app.router.add_post("/webhooks/clerk", handler)
    return await start_http(app)


if __name__ == "__main__":
    serve(_start)
