"""`POST /webhooks/clerk`: raw bytes, signature, one call. The body stays unparsed."""

import asyncio
import time

import structlog
from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp

from clerksync.v1 import resources_pb2, sync_service_pb2
from clerksync_server.clerk.signature import InvalidSignature, SignatureVerifier, VerifiedDelivery
from clerksync_server.ops import metrics
from clerksync_server.ops.lifecycle import Lifecycle
from clerksync_server.ops.logs import frames_of
from clerksync_server.webhook_front.forwarding import MAX_BODY_BYTES, Forwarded, Forwarder, NotApplied

PATH = "/webhooks/clerk"
_READ_TIMEOUT_S = 10.0
_RETRY_AFTER_S = "5"
_log = structlog.get_logger(__name__)

_VERIFIER = web.AppKey("verifier", SignatureVerifier)
_FORWARDER = web.AppKey("forwarder", Forwarder)
_LIFECYCLE = web.AppKey("lifecycle", Lifecycle)

_ANSWERS = {
    resources_pb2.DELIVERY_OUTCOME_APPLIED: (200, "applied"),
    resources_pb2.DELIVERY_OUTCOME_DUPLICATE: (200, "duplicate"),
    resources_pb2.DELIVERY_OUTCOME_STALE: (200, "stale"),
    resources_pb2.DELIVERY_OUTCOME_IGNORED: (200, "ignored"),
    resources_pb2.DELIVERY_OUTCOME_QUARANTINED: (202, "quarantined"),
}


class _Refusal(Exception):
    """An answer other than success. `result` is its label in logs and metrics."""

    def __init__(self, status: int, result: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.result = result


def front_app(verifier: SignatureVerifier, forwarder: Forwarder, lifecycle: Lifecycle) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[_VERIFIER] = verifier
    app[_FORWARDER] = forwarder
    app[_LIFECYCLE] = lifecycle
    app.router.add_post(PATH, _receive)
    return app


async def _receive(request: web.Request) -> web.Response:
    started = time.perf_counter()
    svix_id = request_id = None
    try:
        if request.app[_LIFECYCLE].draining:
            raise _Refusal(503, "stopping", "this replica is stopping; send it again")
        body = await _read_body(request)
        try:
            delivery = request.app[_VERIFIER].verify(body, request.headers)
        except InvalidSignature as error:
            raise _Refusal(400, "invalid_signature", str(error)) from None
        svix_id = delivery.svix_id
        forwarded = await _forward(request.app[_FORWARDER], delivery, body)
        request_id = forwarded.request_id
        status, result = _ANSWERS.get(forwarded.outcome, (200, "applied"))
        response = web.json_response({"outcome": result}, status=status)
    except Exception as error:  # noqa: BLE001  (an answer of 503 makes the sender keep the delivery)
        refusal = error if isinstance(error, _Refusal) else _Refusal(503, "defect", "the delivery cannot be taken now")
        if refusal is not error:
            _log.error("defect", error=type(error).__name__, frames=frames_of(error))
        status, result = refusal.status, refusal.result
        response = web.json_response({"error": {"code": result, "message": str(refusal)}}, status=status)
        if status == 503:
            response.headers["Retry-After"] = _RETRY_AFTER_S
    duration_s = time.perf_counter() - started
    metrics.WEBHOOK_REQUESTS.labels(status=str(status), result=result).observe(duration_s)
    log = _log.info if status < 500 else _log.warning
    duration_ms = round(duration_s * 1000, 2)
    log("delivery", svix_id=svix_id, status=status, result=result, request_id=request_id, duration_ms=duration_ms)
    return response


async def _read_body(request: web.Request) -> bytes:
    try:
        if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
            # Before a byte of it is read.
            raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES)
        async with asyncio.timeout(_READ_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise _Refusal(408, "too_slow", f"the body did not arrive within {_READ_TIMEOUT_S:g} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise _Refusal(413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes") from None
    except (web.RequestPayloadError, ConnectionError):
        raise _Refusal(400, "unreadable", "the body could not be read to its end") from None


async def _forward(forwarder: Forwarder, delivery: VerifiedDelivery, body: bytes) -> Forwarded:
    """Returns after the commit. Anything but an answer makes the sender try again: an unknown fate is no success."""
    request = sync_service_pb2.ApplyClerkEventRequest(
        svix_id=delivery.svix_id, attempted_at=Timestamp(seconds=delivery.attempted_at_s), body=body
    )
    try:
        return await forwarder.apply(request)
    except NotApplied:
        raise _Refusal(503, "unavailable", "the delivery cannot be taken now; send it again") from None
