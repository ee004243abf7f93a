"""`/livez`, `/readyz` and `/metrics`."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from clerksync_server.ops.lifecycle import Lifecycle

_LIFECYCLE = web.AppKey("lifecycle", Lifecycle)


def ops_app(lifecycle: Lifecycle) -> web.Application:
    app = web.Application()
    app[_LIFECYCLE] = lifecycle
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    return app


async def _livez(request: web.Request) -> web.Response:
    """The process answers. Deliberately not tied to the database: a restart would not bring it back."""
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    lifecycle = request.app[_LIFECYCLE]
    if lifecycle.ready:
        return web.Response(text="ok\n")
    problems = {"process": "stopping"} if lifecycle.draining else lifecycle.problems
    return web.Response(status=503, text="".join(f"{part}: {problem}\n" for part, problem in problems.items()))


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
