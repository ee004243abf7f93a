"""What happens around every call of ours: request id, one log line, metrics, errors turned into statuses."""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status
from structlog.contextvars import bind_contextvars, clear_contextvars

from clerksync_server.errors import (
    ClerksyncError,
    DatabaseRefused,
    DatabaseUnavailable,
    ShuttingDown,
)
from clerksync_server.grpc_api.status import code_name, status_of
from clerksync_server.ops import metrics
from clerksync_server.ops.logs import frames_of

_log = structlog.get_logger(__name__)
_OUR_METHODS = "/clerksync."
_REQUEST_ID = "x-request-id"
_GOOD_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the unary methods of our own services; health and reflection answer for themselves.

    grpc.aio would send the text of an exception that nobody caught to the caller, so nothing gets past this.
    """

    def __init__(self) -> None:
        self._refusing = False
        self._in_progress = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, within_s: float) -> None:
        """Refuses new calls, and waits until those in progress have been answered, or the time is over."""
        self._refusing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._in_progress += 1
        self._idle.clear()
        try:
            with metrics.CALLS_IN_PROGRESS.track_inprogress():
                yield
        finally:
            self._in_progress -= 1
            if not self._in_progress:
                self._idle.set()

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_OUR_METHODS) or handler.unary_unary is None:
            return cast("grpc.RpcMethodHandler[Any, Any]", handler)  # None: the method is not known
        return grpc.unary_unary_rpc_method_handler(
            self._around(method, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _around(self, method: str, call: Any) -> Any:
        short_name = method.rpartition("/")[2]

        async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            started = time.perf_counter()
            clear_contextvars()
            request_id = _request_id(context)
            bind_contextvars(request_id=request_id)
            context.set_trailing_metadata(((_REQUEST_ID, request_id),))
            code = "CANCELLED"
            try:
                with self._counted():
                    if self._refusing:
                        raise ShuttingDown
                    response = await call(request, context)
                code = "OK"
                return response
            except Exception as error:  # noqa: BLE001  (whatever it is, the caller gets a status)
                status = status_of(error)
                code = code_name(status)
                _explain(error)
                answer = rpc_status.to_status(status)
                await context.abort(answer.code, answer.details, (*answer.trailing_metadata, (_REQUEST_ID, request_id)))
            finally:
                duration_s = time.perf_counter() - started
                metrics.CALLS.labels(method=short_name, code=code).observe(duration_s)
                level = _log.info if code not in ("INTERNAL", "UNAVAILABLE") else _log.warning
                level("call", method=short_name, code=code, duration_ms=round(duration_s * 1000, 2))

        return handle


def _request_id(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """The caller's, if it is fit for a log line, or a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == _REQUEST_ID and isinstance(value, str) and _GOOD_REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex


def _explain(error: Exception) -> None:
    """Tells the log what the caller is not told."""
    if isinstance(error, DatabaseUnavailable | DatabaseRefused):
        bind_contextvars(database_error=error.detail)
    elif not isinstance(error, ClerksyncError):
        _log.error("defect", error=type(error).__name__, frames=frames_of(error))
