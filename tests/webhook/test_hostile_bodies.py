"""Signed bodies of every hostile kind, through the real front, SyncService and Postgres."""

import json
from typing import Any

import bodies
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stack import Stack, new_svix_id, now_ms

from fuzz.http_front import opened
from fuzz.signing import signature_headers

ORGANIZATION = '{{"type": "organization.created", "timestamp": {time}, "data": {{"id": "org_1", "name": {name}}}}}'
HOSTILE = {
    "depth in a name": ORGANIZATION.format(time=1, name="[" * 10_000 + "]" * 10_000),
    "depth beside": '{"type": "user.created", "data": {"id": "user_1", "x": ' + "[" * 10_000 + "]" * 10_000 + "}}",
    "1e400": ORGANIZATION.format(time="1e400", name='"A"'),
    "10**5000": ORGANIZATION.format(time="1" + "0" * 5000, name='"A"'),
    "-1e400": ORGANIZATION.format(time="-1e400", name='"A"'),
    "duplicate keys": '{"type": "session.created", "type": "user.deleted", "data": 1, "data": {"id": "user_1"}}',
    "half a pair": ORGANIZATION.format(time=1, name='"\\ud800"'),
    "a pair": ORGANIZATION.format(time=now_ms(), name='"\\ud83d\\ude00"'),
    "NUL": ORGANIZATION.format(time=now_ms(), name='"a\\u0000b"'),
    "NUL unescaped": ORGANIZATION.format(time=now_ms(), name='"a\x00b"'),
    "NUL in the type": '{"type": "user.\\u0000created", "data": {"id": "user_1"}}',
    "BOM": "\ufeff" + ORGANIZATION.format(time=1, name='"A"'),
    "a long name": ORGANIZATION.format(time=now_ms(), name=json.dumps("a" * 1_000_000)),
}
NOT_UTF_8 = {
    "latin-1": '{"type": "é"}'.encode("latin-1"),
    "UTF-16": "{}".encode("utf-16"),
    "half a pair": b"\xed\xa0\x80",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_nothing_signed_is_lost(stack: Stack, body: str) -> None:
    """Whatever a signed body holds, it is acknowledged and stands in the ledger, whole if it was not understood."""
    answer = await stack.post(body.encode(), svix_id="msg_1")

    assert answer.status in {200, 202}
    (row,) = await stack.rows("select * from clerksync.webhook_delivery")
    assert (row["svix_id"], row["outcome"]) == ("msg_1", answer.outcome)
    assert row["body"] == (body.encode() if answer.status == 202 else None)


@pytest.mark.parametrize("body", NOT_UTF_8.values(), ids=NOT_UTF_8.keys())
async def test_what_is_not_utf_8_was_not_sent_by_svix(stack: Stack, body: bytes) -> None:
    """Svix signs text: other bytes are refused, so that whoever sent them keeps them."""
    answer = await stack.post(body, headers=signature_headers(new_svix_id(), body))

    assert answer.status == 400


odd = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=8)
)
places = st.sampled_from(["type", "timestamp", "data", "instance_id"])
inner = st.sampled_from(["id", "role", "created_at", "updated_at", "organization", "public_user_data"])


def test_one_odd_place(database_url: str) -> None:
    """A signed body with anything in one of its places never makes a 5xx, a hang or a defect."""
    with opened(database_url) as target:

        @given(places, inner, odd | st.lists(odd, max_size=2) | st.dictionaries(st.text(max_size=3), odd, max_size=2))
        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def deliver(place: str, key: str, value: Any) -> None:
            body = bodies.membership("created", "user_1", "org_1", at=now_ms(), joined_at=now_ms())
            (body if place != "data" else body["data"])[place if place != "data" else key] = value
            target(b"\x00" + json.dumps(body).encode())

        deliver()
