"""`POST /webhooks/clerk`: raw bytes, signature, one call. The body stays unparsed."""

import json
import time
from dataclasses import dataclass
from functools import cache

import structlog
from aiohttp import web
from prometheus_client import Histogram

from clerksync.v1 import resources_pb2
from clerksync_server.clerk.signature import InvalidSignature, SignatureVerifier, VerifiedDelivery
from clerksync_server.errors import Overloaded
from clerksync_server.http_answers import refusal_body
from clerksync_server.http_expect import add_route, refuse_the_rest
from clerksync_server.ops import metrics
from clerksync_server.ops.lifecycle import Lifecycle
from clerksync_server.ops.logs import frames_of
from clerksync_server.webhook_front.forwarding import Delivery, Forwarded, Forwarder, NotApplied
from clerksync_server.webhook_front.reading import MAX_BODY_BYTES, READ_TIMEOUT_S, BodyReader, TooLarge

PATH = "/webhooks/clerk"
_HEADERS = {"Content-Type": "application/json; charset=utf-8"}
_HEADERS_LATER = _HEADERS | {"Retry-After": "5"}
"""In seconds."""
_log = structlog.get_logger(__name__)

_VERIFIER = web.AppKey("verifier", SignatureVerifier)
_FORWARDER = web.AppKey("forwarder", Forwarder)
_READER = web.AppKey("reader", BodyReader)
_LIFECYCLE = web.AppKey("lifecycle", Lifecycle)


@dataclass(frozen=True, slots=True)
class _Answer:
    """`result` is its label in logs and metrics."""

    status: int
    result: str
    body: bytes


def _success(status: int, result: str) -> _Answer:
    return _Answer(status, result, json.dumps({"outcome": result}).encode())


_APPLIED = _success(200, "applied")
_ANSWERS = {
    resources_pb2.DELIVERY_OUTCOME_APPLIED: _APPLIED,
    resources_pb2.DELIVERY_OUTCOME_DUPLICATE: _success(200, "duplicate"),
    resources_pb2.DELIVERY_OUTCOME_STALE: _success(200, "stale"),
    resources_pb2.DELIVERY_OUTCOME_IGNORED: _success(200, "ignored"),
    resources_pb2.DELIVERY_OUTCOME_QUARANTINED: _success(202, "quarantined"),
}


class _Refusal(Exception):
    """Leads to an answer other than success."""

    def __init__(self, status: int, result: str, text: str) -> None:
        super().__init__(text)
        self.answer = _Answer(status, result, refusal_body(result, text))


def _overloaded() -> _Refusal:
    return _Refusal(503, "overloaded", "too much is waiting; send it again")


def front_app(verifier: SignatureVerifier, forwarder: Forwarder, lifecycle: Lifecycle) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[_VERIFIER] = verifier
    app[_FORWARDER] = forwarder
    app[_READER] = BodyReader()
    app[_LIFECYCLE] = lifecycle
    add_route(app, "POST", PATH, _receive)
    refuse_the_rest(app)
    return app


async def _receive(request: web.Request) -> web.Response:
    started = time.perf_counter()
    svix_id = request_id = None
    held = 0
    try:
        if request.app[_LIFECYCLE].draining:
            raise _Refusal(503, "stopping", "this replica is stopping; send it again")
        body, held = await _read_body(request)
        try:
            delivery = request.app[_VERIFIER].verify(body, request.headers)
        except InvalidSignature as error:
            raise _Refusal(400, "invalid_signature", str(error)) from None
        svix_id = delivery.svix_id
        forwarded = await _forward(request.app[_FORWARDER], delivery, body)
        request_id = forwarded.request_id
        answer = _ANSWERS.get(forwarded.outcome, _APPLIED)
    except Exception as error:  # noqa: BLE001  (an answer of 503 makes the sender keep the delivery)
        # Kept in no variable: it would keep itself, and with it the body, until the next garbage collection.
        answer = _answer_to(error)
    finally:
        request.app[_READER].give_back(held)
    duration_s = time.perf_counter() - started
    _requests(answer.status, answer.result).observe(duration_s)
    log = _log.info if answer.status < 500 else _log.warning
    log(
        "delivery",
        svix_id=svix_id,
        status=answer.status,
        result=answer.result,
        request_id=request_id,
        duration_ms=round(duration_s * 1000, 2),
    )
    headers = _HEADERS_LATER if answer.status == 503 else _HEADERS
    return web.Response(body=answer.body, status=answer.status, headers=headers)


def _answer_to(error: Exception) -> _Answer:
    if isinstance(error, _Refusal):
        return error.answer
    _log.error("defect", error=type(error).__name__, frames=frames_of(error))
    return _Refusal(503, "defect", "the delivery cannot be taken now").answer


@cache
def _requests(status: int, result: str) -> Histogram:
    """Looking up the labels takes longer than counting."""
    return metrics.WEBHOOK_REQUESTS.labels(status=str(status), result=result)


async def _read_body(request: web.Request) -> tuple[bytes, int]:
    try:
        return await request.app[_READER].read(request)
    except TimeoutError:
        raise _Refusal(408, "too_slow", f"the body did not arrive within {READ_TIMEOUT_S:g} s") from None
    except TooLarge:
        raise _Refusal(413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes") from None
    except Overloaded:
        raise _overloaded() from None
    except (web.RequestPayloadError, ConnectionError) as error:
        # aiohttp keeps it with the request, which the traceback keeps, and so what of the body has not been taken.
        error.__traceback__ = None
        raise _Refusal(400, "unreadable", "the body could not be read to its end") from None


async def _forward(forwarder: Forwarder, verified: VerifiedDelivery, body: bytes) -> Forwarded:
    """Returns after the commit. Anything but an answer makes the sender try again: an unknown fate is no success."""
    try:
        return await forwarder.apply(Delivery(verified.svix_id, verified.attempted_at_s, body))
    except NotApplied:
        raise _Refusal(503, "unavailable", "the delivery cannot be taken now; send it again") from None
    except Overloaded:
        raise _overloaded() from None
