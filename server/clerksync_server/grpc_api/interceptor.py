"""What happens around every call of ours: who calls, one log line, metrics, errors turned into statuses."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NoReturn

import grpc
import grpc.aio
from grpc_status import rpc_status

from clerksync_server.access.authorizer import Access
from clerksync_server.access.callers import present_caller, set_present_caller
from clerksync_server.access.rate_limits import RateLimits
from clerksync_server.errors import InvalidFields, ShuttingDown
from clerksync_server.grpc_api.call_log import Metadata, Trailers, judge, recognize, tell_log
from clerksync_server.grpc_api.messages import check_message, lenient
from clerksync_server.grpc_api.status import status_of
from clerksync_server.ops import metrics

_STREAMS_END_S = 1.0


class _InProgress:
    """Counts what has begun and not ended."""

    def __init__(self) -> None:
        self.number = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        if not self.number:
            self._none.clear()
        self.number += 1

    def __exit__(self, *_: object) -> None:
        self.number -= 1
        if not self.number:
            self._none.set()

    async def end(self, within_s: float) -> None:
        """Waits until all has ended, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._none.wait()


class CallInterceptor:
    """Wraps the methods of our own services, and reflection; health answers for itself.

    The transports would send the text of an exception that nobody caught to the caller, so nothing gets past this. It
    is no grpc.aio.ServerInterceptor: those are asked anew with each call.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._refusing = False
        self._calls = _InProgress()
        self._streams = _InProgress()
        self._endless: set[asyncio.Timeout] = set()
        self._rate_limits = RateLimits()
        metrics.CALLS_IN_PROGRESS.set_function(lambda: self._calls.number)

    async def drain(self, within_s: float) -> None:
        """Refuses new calls, ends streams, and waits until calls in progress are answered, or the time is over."""
        self._refusing = True
        for stream in self._endless:
            stream.reschedule(asyncio.get_running_loop().time())
        await self._calls.end(within_s)
        # Whoever does not read is not waited for.
        await self._streams.end(min(within_s, _STREAMS_END_S))

    def wrapping(self, server: grpc.aio.Server, access: Access | None = None) -> "_Wrapping":
        """What generated code registers a servicer with, so that its methods are wrapped.

        `access` is who lets calls of these in, if not the one that all others are asked by.
        """
        return _Wrapping(server, partial(self._wrapped, access or self._access))

    def _wrapped(
        self, access: Access, method: str, handler: "grpc.RpcMethodHandler[Any, Any]"
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        codecs: dict[str, Any] = {
            "request_deserializer": lenient(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.stream_stream is not None:
            begin = self._begin_with_each(handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(self._around_stream(access, method, begin), **codecs)
        if handler.unary_stream is not None:
            begin = self._begin_with_one(handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(self._around_stream(access, method, begin), **codecs)
        return grpc.unary_unary_rpc_method_handler(self._around(access, method, handler.unary_unary), **codecs)

    def _begin_with_one(self, call: Any) -> Any:
        """What begins a stream of responses to one request."""

        def begin(request: Any, context: Any) -> Any:
            self._take(request)
            return call(request, context)

        return begin

    def _begin_with_each(self, call: Any) -> Any:
        """What begins a stream of responses to a stream of requests: each of these counts as a call."""

        async def taken(requests: Any) -> AsyncIterator[Any]:
            async for request in requests:
                self._take(request)
                yield request

        return lambda requests, context: call(taken(requests), context)

    def _around(self, access: Access, method: str, call: Any) -> Any:
        name = _name_of(method)
        checked = access.asks

        async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            started = time.perf_counter()
            metadata: Metadata = context.invocation_metadata() or ()
            trailers = recognize(context, metadata)
            code, alarming = "CANCELLED", False
            try:
                with self._calls:
                    if self._refusing:
                        raise ShuttingDown
                    if checked:
                        set_present_caller(await access.admit(method, context, metadata))
                    check_message(request)
                    self._count(request)
                    response = await call(request, context)
                code = "OK"
                return response
            except Exception as error:  # noqa: BLE001  (whatever it is, the caller gets a status)
                code, alarming = judge(error)
                await _abort(error, context, trailers)
            finally:
                duration_s = time.perf_counter() - started
                _seconds_of(name, code).observe(duration_s)
                tell_log(name, code, duration_s, alarming=alarming)

        return handle

    def _around_stream(self, access: Access, method: str, begin: Any) -> Any:
        """Streams are not counted among the calls: they take as long as their callers like."""
        name = _name_of(method)

        async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
            started = time.perf_counter()
            metadata: Metadata = context.invocation_metadata() or ()
            trailers = recognize(context, metadata)
            code, alarming = "CANCELLED", False
            with self._streams:
                try:
                    if self._refusing:
                        raise ShuttingDown
                    set_present_caller(await access.admit(method, context, metadata))
                    # Closed here whatever happens: a cancelled call would leave it to the garbage collector.
                    async with self._until_drained(), contextlib.aclosing(begin(request, context)) as responses:
                        async for response in responses:
                            await context.write(response)
                    code = "OK"
                except Exception as error:  # noqa: BLE001
                    code, alarming = judge(error)
                    await _abort(error, context, trailers)
                finally:
                    tell_log(name, code, time.perf_counter() - started, alarming=alarming)

        return handle

    def _take(self, request: Any) -> None:
        """Raises InvalidFields or RateLimited."""
        check_message(request)
        self._count(request)

    def _count(self, request: Any) -> None:
        """Of a batch each item. The caller has to be known. Raises RateLimited."""
        caller = present_caller()
        if caller.calls_per_second is not None:
            self._rate_limits.take(caller, len(getattr(request, "requests", ())))

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


def answering_for_itself(server: grpc.aio.Server) -> "_Wrapping":
    """What generated code registers a servicer with that nobody is asked for; its messages are checked all the same."""
    return _Wrapping(server, _checked)


def _checked(_: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[Any, Any]":
    call: Any = handler.unary_stream or handler.unary_unary

    async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        try:
            check_message(request)
        except InvalidFields as error:
            await _abort(error, context, ())
        return await call(request, context)

    kind = grpc.unary_unary_rpc_method_handler if handler.unary_stream is None else grpc.unary_stream_rpc_method_handler
    return kind(handle, lenient(handler.request_deserializer), handler.response_serializer)


class _Wrapping:
    """Stands in for a server where generated code registers methods."""

    def __init__(self, server: grpc.aio.Server, wrapped: Callable[[str, Any], Any]) -> None:
        self._server = server
        self._wrapped = wrapped

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[object]) -> None:
        """Nothing: generated code registers each method in both ways."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        wrapped = {name: self._wrapped(f"{service_name}/{name}", handler) for name, handler in method_handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, wrapped),))
        self._server.add_registered_method_handlers(service_name, wrapped)


def _name_of(method: str) -> str:
    """Without the service, as log and metrics call it."""
    return method.rpartition("/")[2]


@lru_cache(maxsize=256)
def _seconds_of(method: str, code: str) -> Any:
    """Found once: to look for a metric by its labels costs more than to count."""
    return metrics.CALLS.labels(method=method, code=code)


async def _abort(error: Exception, context: "grpc.aio.ServicerContext[Any, Any]", trailers: Trailers) -> NoReturn:
    """Ends the call with the error's status, by raising."""
    answer = rpc_status.to_status(status_of(error))
    await context.abort(answer.code, answer.details, (*answer.trailing_metadata, *trailers))
