"""`/livez`, `/readyz` and `/metrics`."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from clerksync_server.http_expect import add_route, refuse_the_rest
from clerksync_server.ops.lifecycle import Lifecycle

_LIFECYCLE = web.AppKey("lifecycle", Lifecycle)


def ops_app(lifecycle: Lifecycle) -> web.Application:
    app = web.Application()
    app[_LIFECYCLE] = lifecycle
    for path, answer in (("/livez", _livez), ("/readyz", _readyz), ("/metrics", _metrics)):
        for method in ("GET", "HEAD"):
            add_route(app, method, path, answer)
    refuse_the_rest(app)
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
