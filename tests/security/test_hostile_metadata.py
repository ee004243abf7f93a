"""Metadata of a kind that gRPC's own clients do not send."""

import asyncio
from pathlib import Path

import pytest
from grpc_api.test_limits import raw
from running import Running
from security.marks import MARKS, Outputs
from transports import TRANSPORTS

from clerksync_server.access.tokens import line_of

TOKEN = MARKS["bearer token"]


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_metadata_that_is_not_utf_8(database_url: str, tmp_path: Path) -> None:
    """A token with bytes that are no text is not known, and neither it nor other such metadata comes into the log."""
    tokens, outputs = tmp_path / "tokens", Outputs()
    tokens.write_text(line_of("known", TOKEN))
    metadata = {
        b"authorization": b"Bearer " + TOKEN.encode() + b"\xff\xfe",
        b"x-a": MARKS["e-mail"].encode() + b"\xc3(",
    }
    variables = {
        "DATABASE_URL": database_url,
        "CLERKSYNC_TOKENS_FILE": str(tokens),
        "CLERKSYNC_LOG_LEVEL": "debug",
    }
    async with Running("service", environment=variables) as service:
        async with raw((await service.listening())["grpc"], bytes(5), metadata=metadata) as reader:
            (call,) = await service.logged("call")
            outputs.add("the answer", await asyncio.wait_for(reader.read(65536), 5))
        await service.stop()
        outputs.add("the log", service.out, service.err)

        assert (call["code"], call["level"]) == ("UNAUTHENTICATED", "info")
        assert '"error"' not in service.err

    assert outputs.leaks() == []
