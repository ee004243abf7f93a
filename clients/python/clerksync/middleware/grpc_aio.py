"""An interceptor for servers of grpc.aio.

    server = grpc.aio.server(interceptors=[authenticate, EnsureProfileInterceptor(client)])

The interceptor that authenticates, which comes before, sets `claims` to what it has verified. Handlers find the profile
in `user_profile.get()`. Both are context variables: each call has its own.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from clerksync.client import SyncClient
from clerksync.identity import Identity
from clerksync.metadata import request_ids
from clerksync.middleware.guards import guard_of
from clerksync.middleware.incoming import identity_in, ids_in_pairs
from clerksync.middleware.session_tokens import finder
from clerksync.policy import BUDGET_S, Decision, OnRemoved
from clerksync.resources import UserProfile

claims: ContextVar[object] = ContextVar("clerksync_claims", default=None)
"""The VERIFIED claims of the caller, or what holds them; set by the interceptor that authenticates."""
user_profile: ContextVar[UserProfile | None] = ContextVar("clerksync_user_profile", default=None)
"""The profile of the caller, for handlers."""

Identify: TypeAlias = Callable[[grpc.HandlerCallDetails], Identity | Awaitable[Identity | None] | None]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable["_Handler | None"]]


def identity_in_claims(_: grpc.HandlerCallDetails) -> Identity | None:
    """Looks at `claims`, never at the call's metadata: nobody has verified those."""
    return identity_in(claims.get())


class EnsureProfileInterceptor(grpc.aio.ServerInterceptor):
    """Ensures the profile of whoever is signed in, for all four kinds of methods."""

    def __init__(
        self,
        client: SyncClient,
        *,
        identify: Identify = identity_in_claims,
        budget_s: float = BUDGET_S,
        on_removed: OnRemoved = "refuse",
        pass_session_token: bool = False,
    ) -> None:
        """`identify` gets the call's details; it may be `async`.

        `pass_session_token` has SyncService verify the request's own token. The rest is as for
        `clerksync.policy.Guard`.
        """
        self._identify = identify
        self._pass_session_token = pass_session_token
        self._guard = guard_of(client, budget_s, on_removed)

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "_Handler | None":
        # The variables need no reset: each call runs in a task, and so in a context, of its own.
        identity = self._identify(handler_call_details)
        if identity is not None and not isinstance(identity, Identity):
            identity = await identity
        if identity is not None:
            metadata = handler_call_details.invocation_metadata
            find_tokens = finder(identity, metadata, wanted=self._pass_session_token)
            request_ids.set(ids_in_pairs(metadata))
            decision = await self._guard.check(identity, find_tokens)
            if decision.denied:
                return _denying(decision)
            user_profile.set(decision.profile)
        handler = await continuation(handler_call_details)
        return handler if identity is None or handler is None else _in_context(handler)


def _in_context(handler: "_Handler") -> "_Handler":
    """Methods that are not async run in other threads, which do not see the variables by themselves."""
    kind = "_".join("stream" if it else "unary" for it in (handler.request_streaming, handler.response_streaming))
    method = getattr(handler, kind)
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        return handler
    context = copy_context()

    def one(request: object, call: object) -> object:
        return context.run(method, request, call)

    def many(request: object, call: object) -> Iterator[object]:
        answers, end = iter(context.run(method, request, call)), object()
        while (answer := context.run(next, answers, end)) is not end:
            yield answer

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    wrapped: _Handler = make(
        many if handler.response_streaming else one, handler.request_deserializer, handler.response_serializer
    )
    return wrapped


def _denying(decision: Decision) -> "_Handler":
    """Answers methods of every kind: it reads no message, and sends none."""
    assert decision.refusal is not None
    status = status_pb2.Status(code=grpc.StatusCode.PERMISSION_DENIED.value[0], message=str(decision.refusal))
    detail = AnyMessage()
    detail.Pack(error_details_pb2.ErrorInfo(reason=decision.refusal.reason, domain="clerksync"))
    status.details.append(detail)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)

    async def deny(_: object, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, status.message, trailers)

    return grpc.stream_stream_rpc_method_handler(deny)
