"""The header Expect. aiohttp's own answer repeats what it does not know, and fails where that is no text."""

from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion11, web


def add_route(
    app: web.Application, method: str, path: str, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> None:
    """Adds a route that answers Expect."""
    app.router.add_route(method, path, answer, expect_handler=_expect)


def refuse_the_rest(app: web.Application) -> None:
    """What is for no route of the application's: 405 or 404, as aiohttp would answer. To be called last."""
    methods: dict[str, list[str]] = {}
    for route in app.router.routes():
        if route.resource is not None:
            methods.setdefault(route.resource.canonical, []).append(route.method)

    async def refuse(request: web.Request) -> web.Response:
        if (allowed := methods.get(request.path)) is not None:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        raise web.HTTPNotFound

    add_route(app, "*", "/{path:.*}", refuse)


async def _expect(request: web.Request) -> None:
    if request.headers["Expect"].lower() != "100-continue":
        refusal = web.HTTPExpectationFailed(text="expected 100-continue")
        # Whether its body will come, nobody knows.
        refusal.force_close()
        raise refusal
    if request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It does not count as the beginning of the answer.
        request.writer.output_size = 0
