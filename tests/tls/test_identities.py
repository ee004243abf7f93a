"""Names in client certificates, and what the policy makes of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from access.test_every_method import WHO_MAY, call
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tls.conftest import StartTls
from tls.mounted import CA, Mounted

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
NOBODY = ("UNAUTHENTICATED", "CREDENTIALS_MISSING")


def certificate(ca: trustme.CA, *names: x509.GeneralName) -> tuple[bytes, bytes]:
    """The key and the certificate of a client, with names of any kind."""
    issuer = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    issuer_key = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "operator.example")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, made.public_bytes(pem)


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
    port = stack.target.rpartition(":")[2]
    return f"localhost:{port}", grpc.ssl_channel_credentials(server.read(CA), *certificate(ca, *names))
