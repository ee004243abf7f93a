"""The HTTP contract of the front: statuses, headers, hostile input."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import bodies
import pytest
from stack import WEBHOOK_SECRET, Stack, new_svix_id, now_ms
from yarl import URL

from clerksync_server.dev.sender import signed_headers

MIB = 1024 * 1024
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def signed(body: bytes, **changes: str) -> dict[str, str]:
    return signed_headers(WEBHOOK_SECRET, new_svix_id(), body) | changes


async def test_both_header_families(stack: Stack) -> None:
    """`svix-*` and `webhook-*` headers are both understood."""
    t = now_ms()

    answers = [
        await stack.post(bodies.organization("created", f"org_{family}", at=t), family=family)
        for family in ("svix", "webhook")
    ]

    assert [answer.outcome for answer in answers] == ["applied", "applied"]


async def test_any_of_several_secrets(start_stack: Any) -> None:
    """While a secret is rotated both are accepted, and no third one."""
    stack = await start_stack(CLERK_WEBHOOK_SECRET=f"{WEBHOOK_SECRET}, {OTHER_SECRET}")
    body = bodies.organization("created", "org_1", at=now_ms())

    statuses = [
        (await stack.post(body, secret=secret)).status
        for secret in (WEBHOOK_SECRET, OTHER_SECRET, "whsec_bm9uZSBvZiB0aGUgdHdvIHNlY3JldHM=")
    ]

    assert statuses == [200, 200, 400]


@pytest.mark.parametrize("path", ["", "/elsewhere"])
@pytest.mark.parametrize(
    ("expect", "status"), [(b"100-continue", 200), (b"tea", 417), (b"\xf5", 417), (b"100\xf5-continue", 417)]
)
async def test_expectations(stack: Stack, path: str, expect: bytes, status: int) -> None:
    """An Expect that is not known, be it text or not, is answered by 417 wherever it is sent to, and never by 500."""
    body = json.dumps(bodies.organization("created", "org_1", at=now_ms())).encode()
    url = URL(stack.webhook_url + path)
    head = [f"POST {url.path} HTTP/1.1", "host: a", "connection: close", f"content-length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in signed(body).items()]
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write("\r\n".join(head).encode() + b"\r\nexpect: " + expect + b"\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()

    assert status_of(answer) == (404 if path and status == 200 else status)


def status_of(answer: bytes) -> int:
    status_line = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").split(b"\r\n")[0]
    return int(status_line.split(b" ")[1])


@pytest.mark.parametrize(
    ("request_line", "expect", "status"),
    [
        ("GET /livez", b"100-continue", 200),
        ("HEAD /readyz", b"100-continue", 200),
        ("GET /livez", b"\xf5", 417),
        ("GET /elsewhere", b"tea", 417),
        ("GET /elsewhere", b"100-continue", 404),
        ("POST /metrics", b"100-continue", 405),
    ],
)
async def test_expectations_of_the_ops_port(stack: Stack, request_line: str, expect: bytes, status: int) -> None:
    """The port for operations answers them as the front does, and what it does not have with 404 or 405."""
    url = URL(stack.ops_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"{request_line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: ".encode() + expect + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()

    assert status_of(answer) == status


HOSTILE_HEADERS = {
    "no signature": {"svix-signature": ""},
    "no id": {"svix-id": ""},
    "no timestamp": {"svix-timestamp": ""},
    "wrong signature": {"svix-signature": "v1,AAAA"},
    "no comma": {"svix-signature": "v1"},
    "two commas": {"svix-signature": "v1,AAAA,BBBB"},
    "double space": {"svix-signature": "v1,AAAA  v1,BBBB"},
    "odd base64": {"svix-signature": "v1,A"},
    "not ASCII": {"svix-signature": "v1,é"},
    "timestamp not a number": {"svix-timestamp": "yesterday"},
    "timestamp NaN": {"svix-timestamp": "NaN"},
    "timestamp infinite": {"svix-timestamp": "inf"},
    "timestamp huge": {"svix-timestamp": "9" * 400},
    "timestamp old": {"svix-timestamp": "1700000000"},
    "timestamp to come": {"svix-timestamp": "32503680000"},
    "id with spaces": {"svix-id": "msg 1"},
    "id too long": {"svix-id": "m" * 256},
}


@pytest.mark.parametrize("changes", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS.keys())
async def test_hostile_headers(stack: Stack, changes: dict[str, str]) -> None:
    """Whatever is wrong with the signature's headers, the answer is 400, and nothing is written."""
    body = json.dumps(bodies.organization("created", "org_1", at=now_ms())).encode()

    answer = await stack.post(body, headers=signed(body, **changes))

    assert answer.status == 400
    assert answer.json["error"]["code"] == "invalid_signature"
    assert await stack.rows("select svix_id from clerksync.webhook_delivery") == []


async def test_altered_body(stack: Stack) -> None:
    """One changed byte is one too many."""
    body = json.dumps(bodies.organization("created", "org_1", at=now_ms())).encode()

    answer = await stack.post(body + b" ", headers=signed(body))

    assert answer.status == 400


async def test_body_that_is_not_text(stack: Stack) -> None:
    """Bytes that are no UTF-8 cannot have been signed by Svix."""
    answer = await stack.post(b"\xff\xfe", headers=signed(b"{}"))

    assert answer.status == 400


@pytest.mark.parametrize(
    ("size", "status"), [(MIB, 202), (MIB + 1, 413), (3 * MIB, 413)], ids=["at the limit", "over it", "far over it"]
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_size_limit(stack: Stack, size: int, status: int, chunked: bool) -> None:
    """A body of 1 MiB is taken, a larger one is not, with a length or without."""
    body = b" " * size

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 64 * 1024):
            yield body[start : start + 64 * 1024]

    try:
        data = pieces() if chunked else io.BytesIO(body)
        async with stack.http.post(stack.webhook_url, data=data, headers=signed(body)) as response:
            assert status == response.status
    except aiohttp.ClientConnectionError:
        # The front answers before it has read a body that is far too large, and may close meanwhile.
        assert status == 413


async def test_compressed_body_is_not_unpacked(stack: Stack) -> None:
    """A small body cannot grow into a large one: the signature is over the bytes as sent."""
    body = gzip.compress(b" " * (50 * MIB))
    headers = {"svix-id": "msg_1", "svix-timestamp": "1", "svix-signature": "v1,AAAA", "content-encoding": "gzip"}

    answer = await stack.post(body, headers=headers)

    assert answer.status == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_other_methods(stack: Stack, method: str) -> None:
    """Only POST is served."""
    async with stack.http.request(method, stack.webhook_url) as response:
        assert response.status == 405


async def test_malformed_http(stack: Stack) -> None:
    """What is no HTTP gets 400, and the front goes on."""
    host, port = stack.webhook_url.removeprefix("http://").removesuffix("/webhooks/clerk").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x16\x03\x01\x00 not http at all\r\n\r\n")
    first_line = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert b" 400 " in first_line
    assert (await stack.post(bodies.organization("created", "org_1", at=now_ms()))).status == 200


async def test_service_away(stack: Stack) -> None:
    """Without SyncService the sender is asked to come again, and is told when."""
    assert stack.application._service is not None
    await stack.application._service._server.stop(0)

    answer = await stack.post(bodies.organization("created", "org_1", at=now_ms()))

    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["error"]["code"] == "unavailable"
