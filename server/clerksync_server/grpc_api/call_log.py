"""What is told of each call: its request id, its trace, and its one line in the log.

Ensure calls that find what they ask for are made on every request of every service, so what only a log line or a
failure needs is done only then.
"""

import itertools
import logging
import re
import uuid
from contextvars import ContextVar
from typing import Any

import grpc.aio
import structlog
from structlog.contextvars import bind_contextvars

from clerksync_server.access.callers import ANONYMOUS, present_caller
from clerksync_server.errors import (
    ClerksyncError,
    DatabaseRefused,
    DatabaseUnavailable,
    NotAllowed,
    ShuttingDown,
    Unauthenticated,
)
from clerksync_server.grpc_api.status import code_name, status_of
from clerksync_server.ops.logs import frames_of

_log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)
_SLOW_S = 1.0
NOTHING_NEW = "existed"
"""The outcome of an Ensure call that found what it asked for: told to the log at the level debug only, unless it was
slow."""
_nothing_new: ContextVar[bool] = ContextVar("nothing_new", default=False)
_PROCESS, _numbers = uuid.uuid4().hex[:16], itertools.count(1)
"""Request ids for callers that send none."""
_REQUEST_ID, _TRACEPARENT = "x-request-id", "traceparent"
_GOOD_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_GOOD_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def tell_nothing_new() -> None:
    """The outcome of the present call is NOTHING_NEW."""
    _nothing_new.set(True)


Trailers = tuple[tuple[str, str], ...]
Metadata = Any
"""Pairs of names and values: text, but for names that end in -bin."""


def recognize(context: "grpc.aio.ServicerContext[Any, Any]", metadata: Metadata) -> Trailers:
    """Gives the call its request id and its trace, for all that is logged meanwhile; returns the trailers.

    The request id is the caller's, if it is fit for a log line, or a new one. The trace is the one that the call is
    part of, by W3C's trace context; what is ill-formed is as good as nothing.
    """
    request_id: str | None = None
    trace_id: str | None = None
    for key, value in metadata:
        if key == _REQUEST_ID:
            if request_id is None and _GOOD_REQUEST_ID.fullmatch(value):
                request_id = value
        elif key == _TRACEPARENT and trace_id is None and (match := _GOOD_TRACEPARENT.fullmatch(value)):
            trace_id = match[1]
    if request_id is None:
        request_id = f"{_PROCESS}{next(_numbers):08x}"
    # Nothing is left of another call: each is a task, with a context of its own.
    bind_contextvars(request_id=request_id)
    if trace_id is not None:
        bind_contextvars(trace_id=trace_id)
    trailers = ((_REQUEST_ID, request_id),)
    context.set_trailing_metadata(trailers)
    return trailers


def tell_log(name: str, code: str, duration_s: float, *, alarming: bool) -> None:
    severity = logging.WARNING if alarming else logging.INFO
    if code == "OK" and _nothing_new.get():
        if duration_s < _SLOW_S:
            severity = logging.DEBUG
            if not _stdlib_log.isEnabledFor(severity):
                return
        bind_contextvars(outcome=NOTHING_NEW)
    if (identity := present_caller().identity) != ANONYMOUS:
        bind_contextvars(caller=identity)
    _log.log(severity, "call", method=name, code=code, duration_ms=round(duration_s * 1000, 2))


def judge(error: Exception) -> tuple[str, bool]:
    """The code that a call ends with, and whether somebody should look. Tells the log what the caller is not told."""
    if isinstance(error, DatabaseUnavailable | DatabaseRefused):
        bind_contextvars(database_error=error.detail)
    elif isinstance(error, NotAllowed):
        bind_contextvars(caller=error.identity)
    elif isinstance(error, Unauthenticated):
        bind_contextvars(problem=str(error))
        if error.identity is not None:
            bind_contextvars(caller=error.identity)
    elif not isinstance(error, ClerksyncError):
        _log.error("defect", error=type(error).__name__, frames=frames_of(error))
    code = code_name(status_of(error))
    # Whoever stops says so once, and not for each call that it ends.
    return code, code in {"INTERNAL", "UNAVAILABLE"} and not isinstance(error, ShuttingDown)
