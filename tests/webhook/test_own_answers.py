"""The answers that aiohttp would make by itself."""

from typing import Any

import pytest
from stack import Stack
from webhook.peers import HEAD

MARK = b"marked@example.com"
REFUSED = {
    "chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + MARK + b"\r\n0\r\n\r\n",
    "header": HEAD + b"Authorization: Bearer " + MARK + b"\x01\r\n\r\n",
    "long header": HEAD + b"X: " + MARK * 1000 + b"\r\n\r\n",
    "first line": MARK + b"\r\n\r\n",
    "version": b"GET / HTTP/" + MARK + b"\r\n\r\n",
    "method": MARK + b" / HTTP/1.1\r\n\r\n",
    "length": HEAD + b"Content-Length: " + MARK + b"\r\n\r\n",
    "after an upgrade": HEAD
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
    + MARK
    + b"\r\n\r\n",
}


def port_of(stack: Stack, port: str) -> str:
    return stack.webhook_url if port == "front" else f"{stack.ops_url}/"


@pytest.mark.parametrize("port", ["front", "ops"])
@pytest.mark.parametrize("refused", REFUSED)
async def test_what_the_parser_refuses(
    stack: Stack, connect: Any, capfd: pytest.CaptureFixture[str], port: str, refused: str
) -> None:
    """Neither answer nor log repeat a byte of it, and the answer has the form of all refusals."""
    peer = await connect(port_of(stack, port))
    await peer.send(REFUSED[refused])
    answer = (await peer.reader.read()).rpartition(b"HTTP/1.")[2]

    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert b'\r\n\r\n{"error": {"code": "unreadable", "message": ' in answer
    assert MARK not in answer
    assert MARK.decode() not in "".join(capfd.readouterr())


@pytest.mark.parametrize("port", ["front", "ops"])
@pytest.mark.parametrize(
    "request_", [b"POST /elsewhere HTTP/1.1\r\n", HEAD, HEAD + b"Expect: tea\r\n", b"\x01 / HTTP/1.1\r\n"]
)
async def test_versions(stack: Stack, connect: Any, port: str, request_: bytes) -> None:
    """No answer tells with which versions of what it was made."""
    peer = await connect(port_of(stack, port))
    await peer.send(request_ + b"Connection: close\r\n\r\n")
    answer = (await peer.reader.read()).lower()

    assert b"\r\nserver: clerksync\r\n" in answer
    assert b"aiohttp" not in answer
    assert b"python" not in answer


async def test_a_defect(start_stack: Any, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handler does not catch is answered with 500, and its text is nowhere."""

    def broken() -> bytes:
        raise RuntimeError(MARK.decode())

    monkeypatch.setattr("clerksync_server.ops.server.generate_latest", broken)
    stack = await start_stack()
    peer = await connect(stack.ops_url + "/")
    await peer.send(b"GET /metrics HTTP/1.1\r\nHost: ops\r\n\r\n")
    answer = await peer.reader.read()

    assert b" 500 " in answer.partition(b"\r\n")[0]
    assert b'"code": "defect"' in answer
    assert MARK not in answer
