"""Client certificates that end while they are in use."""

import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest
import trustme
from access.test_every_method import call
from cryptography import x509
from grpc.experimental import session_cache
from running import until
from tls.conftest import StartTls, target_of
from tls.mounted import CA, CERT, KEY, Mounted, made
from tls.test_identities import DNS, ENSURE, LET_IN, NOBODY, POLICY

LASTS_S = 6.0
"""Long enough for a first call under load."""


@pytest.mark.parametrize("connection", ["open", "resumed"])
async def test_no_call_outlives_its_certificate(
    connection: str,
    start_tls: StartTls,
    server: Mounted,
    ca: trustme.CA,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A certificate is worth nothing once it has ended: not on an open connection, nor in a session that is resumed."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    target = target_of(await start_tls(asks_clients=True, CLERKSYNC_POLICY_FILE=str(policy)))
    ended_at = time.time() + LASTS_S + 1  # The second in which it ends is part of its validity.
    shown = made(ca, DNS("shop.example"), ends_in_s=LASTS_S)
    credentials = grpc.ssl_channel_credentials(server.read(CA), shown[KEY], shown[CERT])
    # Of a channel's own: another one would have the connection of the first.
    options = [
        ("grpc.ssl_session_cache", cast("Any", session_cache).ssl_session_cache_lru(1)),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.secure_channel(target, credentials, options) as first:
        assert await call(first, ENSURE, "nobody") == LET_IN
        await until(lambda: time.time() > ended_at, LASTS_S + 5)
        if connection == "open":
            assert await call(first, ENSURE, "nobody") == NOBODY
    if connection == "resumed":
        # A handshake would fail, and the code be UNAVAILABLE.
        async with grpc.aio.secure_channel(target, credentials, options) as second:
            assert await call(second, ENSURE, "nobody") == NOBODY

    told = next(line for line in "".join(capfd.readouterr()).splitlines() if "has ended" in line)
    assert "dns:shop.example" in told


async def test_a_certificate_that_names_nobody(
    start_tls: StartTls, server: Mounted, ca: trustme.CA, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who shows a certificate without a name that counts is told that, and so is the log; not that one is missing."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    target = target_of(await start_tls(asks_clients=True, CLERKSYNC_POLICY_FILE=str(policy)))
    shown = made(ca, x509.IPAddress(ip_address("127.0.0.1")))
    credentials = grpc.ssl_channel_credentials(server.read(CA), shown[KEY], shown[CERT])
    async with grpc.aio.secure_channel(target, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            stub: Any = channel.unary_unary(f"/{ENSURE}")
            await stub(b"", timeout=10)

    assert refused.value.details() == "the client certificate names no DNS name and no SPIFFE id"
    assert str(refused.value.details()) in "".join(capfd.readouterr())
