"""What a front that SyncService does not let in, or cannot be reached, tells whoever reads its log."""

import socket

import pytest
from stack import Stack
from structlog.testing import capture_logs

from clerksync_server.webhook_front.client import keep_connected
from clerksync_server.webhook_front.forwarding import Delivery, Forwarder, NotApplied


async def line_of_a_failure(target: str) -> tuple[str, str]:
    """Code and reason in the log of a front that looks for SyncService there."""
    connection = keep_connected(target)
    with capture_logs() as lines, pytest.raises(NotApplied):
        await Forwarder(connection).apply(Delivery("msg_1", 1_795_000_000, b"{}"))
    await connection.close()
    [line] = [line for line in lines if line["event"] == "SyncService did not apply deliveries"]
    return line["code"], line["why"]


async def test_the_policy_does_not_know_it(guarded: Stack) -> None:
    """The reason of a refusal stands in the log of the front that was refused."""
    assert ("UNAUTHENTICATED", "CREDENTIALS_MISSING") == await line_of_a_failure(guarded.target)


async def test_nobody_listens() -> None:
    """What gRPC says of the way to SyncService stands there where SyncService says nothing."""
    with socket.socket() as taken:  # Nobody else gets the port, and nobody answers there.
        taken.bind(("127.0.0.1", 0))
        code, why = await line_of_a_failure(f"127.0.0.1:{taken.getsockname()[1]}")

    assert "UNAVAILABLE" == code
    assert "refused" in why
