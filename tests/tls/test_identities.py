"""Names in client certificates, and what the policy makes of them."""

from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from access.test_every_method import WHO_MAY, call
from cryptography import x509
from tls.conftest import StartTls, target_of
from tls.mounted import CA, CERT, KEY, Mounted, made

ENSURE = "clerksync.v1.SyncService/EnsureUserProfile"
POLICY = """
[[callers]]
identity = "dns:shop.example"
roles = ["sibling"]

[[callers]]
identity = "spiffe://example.org/ns/shop/*"
roles = ["sibling"]

[[callers]]
identity = "dns:front.example"
roles = ["front"]

[[callers]]
identity = "dns:operator.example"
roles = ["operator"]
"""
DNS, URI, EMAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name
LET_IN, DENIED = ("let in", ""), ("PERMISSION_DENIED", "METHOD_NOT_ALLOWED")
NOBODY = ("UNAUTHENTICATED", "CREDENTIALS_INVALID")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([DNS("shop.example")], LET_IN),
        ([DNS("other.example"), DNS("shop.example")], LET_IN),
        ([URI("spiffe://example.org/ns/shop/sa/cart")], LET_IN),
        ([DNS("front.example"), DNS("shop.example")], LET_IN),
        ([DNS("front.example")], DENIED),
        ([DNS("stranger.example")], DENIED),
        ([DNS("a.shop.example")], DENIED),
        ([URI("spiffe://example.org/ns/shopping/sa/cart")], DENIED),
        ([URI("spiffe://evil.example/ns/shop/sa/cart")], DENIED),
        # What is no name of a host or a workload is nobody's identity, whatever it looks like.
        ([URI("dns:shop.example")], NOBODY),
        ([URI("spiffe://example.org/ns/shop/../admin/sa/x")], NOBODY),
        ([URI("spiffe://example.org/ns/shop/sa/cart?x#y")], NOBODY),
        ([URI("spiffe://example.org/ns/shop/")], NOBODY),
        ([DNS("spiffe://example.org/ns/shop/sa/cart")], DENIED),
        ([EMAIL("shop.example")], NOBODY),
        # Nor is what ends for some where it goes on for others.
        ([DNS("shop.example\0.evil.example")], NOBODY),
        ([URI("spiffe://example.org/ns/shop/sa/cart\0/evil")], NOBODY),
        ([DNS("shop.example\0.evil.example"), DNS("shop.example")], LET_IN),
        # A certificate is one workload's, or none's.
        ([URI("spiffe://example.org/ns/shop/sa/cart"), URI("spiffe://example.org/ns/evil/sa/x")], NOBODY),
        ([URI("spiffe://example.org/ns/shop/sa/cart"), DNS("stranger.example")], LET_IN),
    ],
)
async def test_names_of_a_certificate(
    start_tls: StartTls,
    server: Mounted,
    ca: trustme.CA,
    tmp_path: Path,
    names: list[x509.GeneralName],
    expected: tuple[str, str],
) -> None:
    """A certificate is its DNS names and URIs, whole, and not its subject; any that the policy knows lets it in."""
    stack, credentials = await _stack_and_credentials(start_tls, server, ca, tmp_path, *names)
    async with grpc.aio.secure_channel(stack, credentials) as channel:
        assert await call(channel, ENSURE, "nobody") == expected


@pytest.mark.parametrize("role", ["front", "operator"])
async def test_every_method_by_certificate(
    start_tls: StartTls, server: Mounted, ca: trustme.CA, tmp_path: Path, role: str
) -> None:
    """Each role may make its own calls and nobody else's; a wrong token spoils a good certificate."""
    stack, credentials = await _stack_and_credentials(start_tls, server, ca, tmp_path, DNS(f"{role}.example"))
    async with grpc.aio.secure_channel(stack, credentials) as channel:
        told = {name: await call(channel, name, "nobody") for name in WHO_MAY}
        spoilt = await call(channel, next(name for name, may in WHO_MAY.items() if may == role), "a wrong token")

    assert told == {name: LET_IN if may in (role, "everybody") else DENIED for name, may in WHO_MAY.items()}
    assert spoilt == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")


async def _stack_and_credentials(
    start_tls: StartTls, server: Mounted, ca: trustme.CA, folder: Path, *names: x509.GeneralName
) -> tuple[str, grpc.ChannelCredentials]:
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    stack = await start_tls(asks_clients=True, CLERKSYNC_POLICY_FILE=str(policy))
    shown = made(ca, *names)
    return target_of(stack), grpc.ssl_channel_credentials(server.read(CA), shown[KEY], shown[CERT])
