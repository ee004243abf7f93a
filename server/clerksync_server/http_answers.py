"""The answers that aiohttp would make by itself: its own repeat what they refuse, and tell versions."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiohttp import hdrs, web

from clerksync_server.ops.logs import frames_of

_SERVER = "clerksync"
_log = structlog.get_logger(__name__)


def refusal_body(code: str, message: str) -> bytes:
    """What stands in every answer of the front's other than success."""
    return json.dumps({"error": {"code": code, "message": message}}).encode()


_UNREADABLE = refusal_body("unreadable", "no request of HTTP, or its headers are beyond the limits")
_DEFECT = refusal_body("defect", "the request cannot be answered now")


class RequestHandler(web.RequestHandler):
    """As aiohttp's, which has one for each connection, with answers that hold nothing of the request."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refuses, and what a handler does not catch. Raises ConnectionError if it is too late."""
        if status >= 500 and exc is not None:
            _log.error("defect", error=type(exc).__name__, frames=frames_of(exc))
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has been begun")
        body = _UNREADABLE if status < 500 else _DEFECT
        response = web.Response(status=status, body=body, content_type="application/json", charset="utf-8")
        # Where the next request would begin, nobody knows.
        response.force_close()
        return response

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Sends every answer of aiohttp's and of ours."""
        resp.headers[hdrs.SERVER] = _SERVER
        return super().finish_response(request, resp, start_time)


def handlers(server: web.Server, **options: Any) -> Callable[[], asyncio.Protocol]:
    """A factory of handlers for `loop.create_server`, with aiohttp's `options` for each."""
    loop = asyncio.get_running_loop()
    return lambda: RequestHandler(server, loop=loop, **options)
