"""The quarantine: signed, but not understood. Nothing acknowledged is lost."""

import hashlib
import json
from typing import Any

import bodies
import grpc
import pytest
from stack import Stack, error_info, new_svix_id, now_ms

from clerksync.v1 import delivery_service_pb2, resources_pb2

NOT_UNDERSTOOD = {
    "empty": b"",
    "no JSON": b"hello",
    "half of it": b'{"type": "organization.created", "data": {"id": "org',
    "an array": b"[]",
    "no type": b'{"data": {}}',
    "type is a number": b'{"type": 1}',
    "no data": b'{"type": "organization.created"}',
    "no id": b'{"type": "organization.deleted", "data": {"deleted": true}}',
    "id with spaces": b'{"type": "user.deleted", "data": {"id": "user 1"}}',
    "id is empty": b'{"type": "user.deleted", "data": {"id": ""}}',
    "no user": b'{"type": "organizationMembership.created", "data": {"id": "m", "organization": {"id": "org_1"}}}',
    "time is text": b'{"type": "organization.created", "timestamp": "now", "data": {"id": "org_1", "name": "Acme"}}',
    "time is enormous": b'{"type": "organization.created", "timestamp": 1e300, "data": {"id": "org_1", "name": "A"}}',
    "nested too deeply": b'{"type": "organization.created", "data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
}


@pytest.mark.parametrize("body", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD.keys())
async def test_kept_whole(stack: Stack, body: bytes) -> None:
    """A signed body that cannot be understood is acknowledged with 202 and kept byte for byte, with the reason."""
    answer = await stack.post(body, svix_id="msg_1")

    assert (answer.status, answer.outcome) == (202, "quarantined")
    (row,) = await stack.rows("select * from clerksync.webhook_delivery")
    assert ("msg_1", "quarantined", body) == (row["svix_id"], row["outcome"], row["body"])
    assert hashlib.sha256(body).digest() == row["body_sha256"]
    assert row["quarantine_reason"]


async def test_list_show_redrive(stack: Stack) -> None:
    """An operator finds what is quarantined, and a redrive that still does not understand it says why."""
    await stack.post(b'{"type": "user.deleted", "data": {}}', svix_id="msg_bad")
    await stack.post(bodies.organization("created", "org_1", at=now_ms()), svix_id="msg_good")

    listed = await stack.deliveries.ListDeliveries(
        delivery_service_pb2.ListDeliveriesRequest(outcome=resources_pb2.DELIVERY_OUTCOME_QUARANTINED)
    )
    shown = await stack.deliveries.GetDelivery(
        delivery_service_pb2.GetDeliveryRequest(svix_id="msg_bad", include_body=True)
    )
    redriven = await stack.deliveries.RedriveDelivery(delivery_service_pb2.RedriveDeliveryRequest(svix_id="msg_bad"))

    assert [delivery.svix_id for delivery in listed.deliveries] == ["msg_bad"]
    assert listed.deliveries[0].body == b""
    assert shown.delivery.body == b'{"type": "user.deleted", "data": {}}'
    assert redriven.delivery.outcome == resources_pb2.DELIVERY_OUTCOME_QUARANTINED
    assert "Object missing required field `id` - at `data`" in redriven.delivery.quarantine_reason


async def test_redrive_applies_what_is_understood_by_now(stack: Stack) -> None:
    """A redrive applies the kept body, drops it, and leaves the delivery as if it had been understood at once."""
    body = json.dumps(bodies.membership("created", "user_1", "org_1", at=now_ms(), joined_at=now_ms())).encode()
    await stack.post(b"not yet understood", svix_id="msg_1")
    await stack.rows(
        "update clerksync.webhook_delivery set body = $1, body_sha256 = sha256($1) returning true", body
    )  # As if the code of that day had not understood this body.

    redriven = await stack.deliveries.RedriveDelivery(delivery_service_pb2.RedriveDeliveryRequest(svix_id="msg_1"))
    again = await stack.deliveries.RedriveDelivery(delivery_service_pb2.RedriveDeliveryRequest(svix_id="msg_1"))

    assert redriven.delivery.outcome == resources_pb2.DELIVERY_OUTCOME_APPLIED
    assert redriven.delivery.event_type == "organizationMembership.created"
    assert redriven.delivery == again.delivery
    assert await stack.rows("select clerk_user_id from public.user_profile") == [{"clerk_user_id": "user_1"}]
    (row,) = await stack.rows("select outcome, body, quarantine_reason from clerksync.webhook_delivery")
    assert row == {"outcome": "applied", "body": None, "quarantine_reason": None}


async def test_a_resend_of_what_is_quarantined(stack: Stack) -> None:
    """A repeat is a duplicate while it is still not understood, and is applied once it is."""
    svix_id = new_svix_id()
    first = await stack.post(b"not understood", svix_id=svix_id)
    repeat = await stack.post(b"not understood", svix_id=svix_id)
    body = json.dumps(bodies.organization("created", "org_1", at=now_ms())).encode()
    await stack.rows("update clerksync.webhook_delivery set body = $1, body_sha256 = sha256($1) returning true", body)
    understood = await stack.post(body, svix_id=svix_id)

    assert [first.outcome, repeat.outcome, understood.outcome] == ["quarantined", "duplicate", "applied"]


async def test_a_constraint_of_the_application(stack: Stack, connection: Any) -> None:
    """What a constraint of the application refuses is kept in quarantine, and redriven once that is mended."""
    await connection.execute(
        "create table public.invoice (clerk_org_id text references public.organization (clerk_org_id))"
    )
    t = now_ms()
    await stack.post(bodies.organization("created", "org_1", at=t))
    await connection.execute("insert into public.invoice values ('org_1')")

    refused = await stack.post(bodies.organization("deleted", "org_1", at=t + 1), svix_id="msg_1")
    (kept,) = await stack.rows("select quarantine_reason from clerksync.webhook_delivery where svix_id = 'msg_1'")
    await connection.execute("drop table public.invoice")
    redriven = await stack.deliveries.RedriveDelivery(delivery_service_pb2.RedriveDeliveryRequest(svix_id="msg_1"))

    assert (refused.status, refused.outcome) == (202, "quarantined")
    assert "invoice_clerk_org_id_fkey" in kept["quarantine_reason"]
    assert "org_1" not in kept["quarantine_reason"]
    assert redriven.delivery.outcome == resources_pb2.DELIVERY_OUTCOME_APPLIED
    assert await stack.rows("select id from public.organization") == []


async def test_pages(stack: Stack) -> None:
    """Pages follow each other without gaps or repeats, the latest first."""
    sent = [f"msg_{number}" for number in range(7)]
    for svix_id in sent:
        await stack.post({"type": "session.created", "data": {}}, svix_id=svix_id)

    listed: list[str] = []
    token = ""
    for _ in range(4):
        page = await stack.deliveries.ListDeliveries(
            delivery_service_pb2.ListDeliveriesRequest(page_size=2, page_token=token)
        )
        listed += [delivery.svix_id for delivery in page.deliveries]
        token = page.next_page_token

    assert sent[::-1] == listed
    assert token == ""


async def test_unknown_delivery(stack: Stack) -> None:
    """What the ledger does not hold is NOT_FOUND, for both methods that name a delivery."""
    for method, request in (
        (stack.deliveries.GetDelivery, delivery_service_pb2.GetDeliveryRequest(svix_id="msg_1")),
        (stack.deliveries.RedriveDelivery, delivery_service_pb2.RedriveDeliveryRequest(svix_id="msg_1")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(request)

        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert error_info(caught.value).reason == "DELIVERY_NOT_FOUND"
