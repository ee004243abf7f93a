"""What happens around every call of ours: request id, one log line, metrics, errors turned into statuses."""

import asyncio
import contextlib
import itertools
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

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
_stdlib_log = logging.getLogger(__name__)
_OUR_METHODS = "/clerksync."
_STREAMS_END_S = 1.0
_SLOW_S = 1.0
NOTHING_NEW = "existed"
"""The outcome of an Ensure call that found what it asked for: made on every request of every service, and told to the
log at the level debug only, unless it was slow."""
_PROCESS, _numbers = uuid.uuid4().hex[:16], itertools.count(1)
"""Request ids for callers that send none."""
_REQUEST_ID = "x-request-id"
_GOOD_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_GOOD_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class _InProgress:
    """Counts what has begun and not ended."""

    def __init__(self) -> None:
        self._number = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._number += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._number -= 1
        if not self._number:
            self._none.set()

    async def end(self, within_s: float) -> None:
        """Waits until all has ended, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._none.wait()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of our own services; health and reflection answer for themselves.

    grpc.aio would send the text of an exception that nobody caught to the caller, so nothing gets past this.
    """

    def __init__(self) -> None:
        self._refusing = False
        self._calls = _InProgress()
        self._streams = _InProgress()
        self._endless: set[asyncio.Timeout] = set()
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def drain(self, within_s: float) -> None:
        """Refuses new calls, ends streams, and waits until calls in progress are answered, or the time is over."""
        self._refusing = True
        for stream in self._endless:
            stream.reschedule(asyncio.get_running_loop().time())
        await self._calls.end(within_s)
        # Whoever does not read is not waited for.
        await self._streams.end(min(within_s, _STREAMS_END_S))

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        method = handler_call_details.method
        if (wrapped := self._wrapped.get(method)) is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith(_OUR_METHODS):
            return cast("grpc.RpcMethodHandler[Any, Any]", handler)  # None: the method is not known
        name = method.rpartition("/")[2]
        if handler.unary_stream is not None:
            wrapped = grpc.unary_stream_rpc_method_handler(
                self._around_stream(name, handler.unary_stream),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        else:
            wrapped = grpc.unary_unary_rpc_method_handler(
                self._around(name, handler.unary_unary),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        self._wrapped[method] = wrapped
        return wrapped

    def _around(self, name: str, call: Any) -> Any:
        async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            async with _told(name, context, timed=True) as told:
                with self._calls, metrics.CALLS_IN_PROGRESS.track_inprogress():
                    if self._refusing:
                        raise ShuttingDown
                    response = await call(request, context)
                told.code = "OK"
                return response

        return handle

    def _around_stream(self, name: str, call: Any) -> Any:
        """Streams are not counted among the calls: they take as long as their callers like."""

        async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
            with self._streams:
                async with _told(name, context, timed=False) as told:
                    if self._refusing:
                        raise ShuttingDown
                    # Closed here whatever happens: a cancelled call would leave it to the garbage collector.
                    async with self._until_drained(), contextlib.aclosing(call(request, context)) as responses:
                        async for response in responses:
                            await context.write(response)
                    told.code = "OK"

        return handle

    @contextlib.asynccontextmanager
    async def _until_drained(self) -> AsyncIterator[None]:
        """Ends what is within by ShuttingDown when this replica stops."""
        ending = asyncio.timeout(None)
        try:
            async with ending:
                self._endless.add(ending)
                try:
                    yield
                finally:
                    self._endless.discard(ending)
        except TimeoutError:
            if ending.expired():
                raise ShuttingDown from None
            raise


@dataclass(slots=True)
class _Told:
    code: str = "CANCELLED"
    shutting_down: bool = False


@contextlib.asynccontextmanager
async def _told(name: str, context: "grpc.aio.ServicerContext[Any, Any]", *, timed: bool) -> AsyncIterator[_Told]:
    """Turns what a call raises into a status, and tells log and metrics how it ended."""
    started = time.perf_counter()
    clear_contextvars()
    request_id = _request_id(context)
    bind_contextvars(request_id=request_id)
    if trace_id := _trace_id(context):
        bind_contextvars(trace_id=trace_id)
    context.set_trailing_metadata(((_REQUEST_ID, request_id),))
    told = _Told()
    try:
        yield told
    except Exception as error:  # noqa: BLE001  (whatever it is, the caller gets a status)
        status = status_of(error)
        told.code = code_name(status)
        told.shutting_down = isinstance(error, ShuttingDown)
        _explain(error)
        answer = rpc_status.to_status(status)
        await context.abort(answer.code, answer.details, (*answer.trailing_metadata, (_REQUEST_ID, request_id)))
    finally:
        duration_s = time.perf_counter() - started
        if timed:
            metrics.CALLS.labels(method=name, code=told.code).observe(duration_s)
        # Whoever stops says so once, and not for each stream that it ends.
        alarming = told.code in ("INTERNAL", "UNAVAILABLE") and not told.shutting_down
        severity = logging.WARNING if alarming else logging.INFO
        if duration_s < _SLOW_S and told.code == "OK" and get_contextvars().get("outcome") == NOTHING_NEW:
            severity = logging.DEBUG
        if severity > logging.DEBUG or _stdlib_log.isEnabledFor(severity):
            _log.log(severity, "call", method=name, code=told.code, duration_ms=round(duration_s * 1000, 2))


def _request_id(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """The caller's, if it is fit for a log line, or a new one."""
    given = _metadata(context, _REQUEST_ID, _GOOD_REQUEST_ID)
    return f"{_PROCESS}{next(_numbers):08x}" if given is None else given[0]


def _trace_id(context: "grpc.aio.ServicerContext[Any, Any]") -> str | None:
    """The trace that the call is part of, by W3C's trace context; what is ill-formed is as good as nothing."""
    given = _metadata(context, "traceparent", _GOOD_TRACEPARENT)
    return None if given is None else given[1]


def _metadata(context: "grpc.aio.ServicerContext[Any, Any]", name: str, form: re.Pattern[str]) -> re.Match[str] | None:
    for key, value in context.invocation_metadata() or ():
        if key == name and isinstance(value, str) and (match := form.fullmatch(value)):
            return match
    return None


def _explain(error: Exception) -> None:
    """Tells the log what the caller is not told."""
    if isinstance(error, DatabaseUnavailable | DatabaseRefused):
        bind_contextvars(database_error=error.detail)
    elif not isinstance(error, ClerksyncError):
        _log.error("defect", error=type(error).__name__, frames=frames_of(error))
