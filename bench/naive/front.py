"""The front of the naive twin: aiohttp, svix, and a unary call for each delivery."""

import os
from typing import Any

import grpc.aio
from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp
from svix.webhooks import Webhook, WebhookVerificationError

from bench.servers.serving import serve, start_http
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc

_DEADLINE_S = 10.0


class Front:
    """`POST /webhooks/clerk`."""

    def __init__(self, secret: str, target: str) -> None:
        self._webhook = Webhook(secret)
        self._stub: Any = sync_service_pb2_grpc.SyncServiceStub(grpc.aio.insecure_channel(target))

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = dict(request.headers)
        try:
            self._webhook.verify(body, headers)
        except WebhookVerificationError:
            return web.json_response({"error": "the signature does not match"}, status=400)
        try:
            answer = await self._stub.ApplyClerkEvent(
                sync_service_pb2.ApplyClerkEventRequest(
                    svix_id=headers["svix-id"],
                    attempted_at=Timestamp(seconds=int(headers["svix-timestamp"])),
                    body=body,
                ),
                timeout=_DEADLINE_S,
            )
        except grpc.aio.AioRpcError:
            return web.json_response({"error": "it cannot be taken now"}, status=503)
        return web.json_response({"outcome": resources_pb2.DeliveryOutcome.Name(answer.outcome)})


async def _start() -> int:
    front = Front(os.environ["CLERK_WEBHOOK_SECRET"], os.environ["CLERKSYNC_SERVICE_TARGET"])
    app = web.Application()
    app.router.add_post("/webhooks/clerk", front.receive)
    return await start_http(app)


if __name__ == "__main__":
    serve(_start)
