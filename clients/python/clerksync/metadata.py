"""The ids under which a call is found again in logs and traces: they travel as gRPC metadata."""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias

Metadata: TypeAlias = tuple[tuple[str, str], ...]

# Nothing else is passed on: gRPC would refuse the whole call, and with it a batch.
_GOOD_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_GOOD_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_GOOD_KEY = re.compile(r"(?!grpc-)[0-9a-z_.-]{1,64}(?<!-bin)")
_GOOD_VALUE = re.compile(r"[\x20-\x7e]{0,1024}")


@dataclass(frozen=True, slots=True)
class RequestIds:
    """What identifies the request that is being served: its `x-request-id` and its W3C `traceparent`, as received."""

    request_id: str | None = None
    traceparent: str | None = None


request_ids: ContextVar[RequestIds | None] = ContextVar("clerksync_request_ids", default=None)
"""Set by the middleware for the time of a request; calls made meanwhile carry it along."""


def current_metadata() -> Metadata:
    """The metadata that tells of the request being served; what is ill-formed is left out."""
    if (ids := request_ids.get()) is None:
        return ()
    found: list[tuple[str, str]] = []
    if ids.request_id is not None and _GOOD_REQUEST_ID.fullmatch(ids.request_id):
        found.append(("x-request-id", ids.request_id))
    if ids.traceparent is not None and _GOOD_TRACEPARENT.fullmatch(ids.traceparent):
        found.append(("traceparent", ids.traceparent))
    return tuple(found)


def merged(base: Metadata, extra: Iterable[tuple[str, str]]) -> Metadata:
    """`base` with `extra` instead where both name a key; pairs that gRPC would refuse are left out."""
    good = {
        key: value
        for key, value in extra
        if _GOOD_KEY.fullmatch(key) and isinstance(value, str) and _GOOD_VALUE.fullmatch(value)
    }
    return tuple((dict(base) | good).items())


def with_authorization(metadata: Metadata, authorization: Metadata) -> Metadata:
    """`metadata` with the pair that says who calls, if there is one; it wins over what the service gave."""
    if not authorization:
        return metadata
    return (*(pair for pair in metadata if pair[0] != "authorization"), *authorization)
