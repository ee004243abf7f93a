"""Which certificates SyncService shows, at the start and as renewed ones, and what it says of the others."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from running import until
from tls.conftest import MountFiles, StartTls, target_of
from tls.mounted import CA, CERT, KEY, Mounted, made
from tls.test_handshakes import asks, tls_of
from tls.test_renewal import shown
from tls.test_settings import refusal

from clerksync.credential_files import TlsFiles, UnusableFile
from clerksync_server.grpc_api.tls import ServerCertificate

NOT_USED, SHOWN = "a renewed certificate is not used", "a renewed certificate is shown"
CLIENTS_ONLY = (ExtendedKeyUsageOID.CLIENT_AUTH,)
DAY_S = 24 * 3600
WRONG_KEYS: dict[str, Callable[[], Any]] = {
    "RSA of 1024 bits": lambda: rsa.generate_private_key(65537, 1024),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "Brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
    "DSA": lambda: dsa.generate_private_key(2048),
}
RIGHT_KEYS: dict[str, Callable[[], Any]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


def wrong(ca: trustme.CA, what: str) -> dict[str, bytes]:
    """The files of a certificate that is not to be shown."""
    if what in WRONG_KEYS:
        return made(ca, key=WRONG_KEYS[what]())
    return {
        "expired": lambda: made(ca, begins_in_s=-DAY_S, ends_in_s=-60),
        "for clients only": lambda: made(ca, purposes=CLIENTS_ONLY),
        "not an authority": lambda: made(ca) | {CA: made(ca)[CERT]},
    }[what]()


def with_explicit_parameters(folder: Path) -> dict[str, bytes]:
    """A certificate that OpenSSL and `cryptography` take and gRPC does not: its curve is described, and not named."""
    key, certificate = folder / "explicit.key", folder / "explicit.crt"
    curve = ["openssl", "ecparam", "-name", "prime256v1", "-param_enc", "explicit", "-genkey", "-noout"]
    subprocess.run([*curve, "-out", key], check=True, capture_output=True)
    names = ["-subj", "/CN=x", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(["openssl", "req", "-x509", "-key", key, "-out", certificate, *names], check=True)
    return {CERT: certificate.read_bytes(), KEY: key.read_bytes(), CA: certificate.read_bytes()}


def expired_authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")]), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("what", [*WRONG_KEYS, "expired", "for clients only", "not an authority"])
def test_what_is_not_started_with(what: str, mount: MountFiles, ca: trustme.CA) -> None:
    """SyncService does not start with a certificate that its clients would refuse, and says which variable names it."""
    files = mount(wrong(ca, what))
    told = refusal(
        "service",
        CLERKSYNC_GRPC_TLS_CERT=files / CERT,
        CLERKSYNC_GRPC_TLS_KEY=files / KEY,
        CLERKSYNC_GRPC_TLS_CLIENT_CA=files / CA,
    )

    # OpenSSL has an opinion on keys that are too short.
    variables = {"not an authority": "CLIENT_CA", "RSA of 1024 bits": ""}
    assert f"CLERKSYNC_GRPC_TLS_{variables.get(what, 'CERT: ')}" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("kind", RIGHT_KEYS)
async def test_keys_that_can_be_used(kind: str, start_tls: StartTls, server: Mounted, ca: trustme.CA) -> None:
    """A key of each kind that is said to be usable is shown, and a client believes it."""
    server.swap(made(ca, key=RIGHT_KEYS[kind]()))

    assert await asks(target_of(await start_tls()), tls_of(server, shows=False))


@pytest.mark.parametrize("what", ["secp256k1", "Ed25519", "expired", "for clients only", "not an authority"])
async def test_what_is_not_renewed_to(
    what: str, start_tls: StartTls, server: Mounted, ca: trustme.CA, capfd: pytest.CaptureFixture[str]
) -> None:
    """What SyncService would not start with does not take the place of what it shows, nor is it said to be shown."""
    stack = await start_tls(asks_clients=True)
    before = await shown(stack)

    server.swap(wrong(ca, what))

    assert [await shown(stack), await shown(stack)] == [before] * 2
    told = "".join(capfd.readouterr())
    assert (told.count(NOT_USED), told.count(SHOWN)) == (1, 0)


async def test_a_renewed_certificate_that_begins_later(
    start_tls: StartTls, server: Mounted, ca: trustme.CA, capfd: pytest.CaptureFixture[str]
) -> None:
    """A renewed certificate whose time is still to come is shown from then on, without another change of the files."""
    stack = await start_tls()
    before = await shown(stack)
    renewed = made(ca, begins_in_s=8)

    server.swap(renewed)
    assert await shown(stack) == before
    expected = ssl.PEM_cert_to_DER_cert(renewed[CERT].decode())

    async def is_shown() -> bool:
        return await shown(stack) == expected

    await until(is_shown, 30, every_s=0.5)
    assert "".join(capfd.readouterr()).count(NOT_USED) == 1


async def test_when_the_one_that_is_shown_has_ended(server: Mounted, ca: trustme.CA) -> None:
    """Once the certificate that is shown has ended, one that ends later takes its place, though it has ended too."""
    server.swap(made(ca, ends_in_s=3))
    certificate = ServerCertificate(TlsFiles(certificate=server / CERT, key=server / KEY))
    first = certificate.expires_at_s()
    await until(lambda: time.time() > first + 3, 15)

    server.swap(made(ca, ends_in_s=-DAY_S / 2, begins_in_s=-DAY_S))
    assert certificate.expires_at_s() == first
    server.swap(made(ca, ends_in_s=-1))
    assert first < certificate.expires_at_s() < time.time()


async def test_what_is_warned_of(
    start_tls: StartTls, server: Mounted, ca: trustme.CA, capfd: pytest.CaptureFixture[str]
) -> None:
    """A certificate whose time is still to come, and an authority that has expired, are used with a warning."""
    files = made(ca, begins_in_s=1800)
    server.swap(files | {CA: files[CA] + expired_authority()})
    await start_tls(asks_clients=True)

    told = "".join(capfd.readouterr())
    assert "the certificate is not valid yet" in told
    assert "authorities of client certificates have expired" in told
    assert "[2]" in told


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_what_only_grpc_refuses(mount: MountFiles, server: Mounted, tmp_path: Path) -> None:
    """What gRPC alone does not take is refused too, and as a renewed one it does not count as shown."""
    files = with_explicit_parameters(tmp_path)
    refused = mount(files)
    with pytest.raises(UnusableFile, match=r"^certificate: .*gRPC does not take"):
        ServerCertificate(TlsFiles(certificate=refused / CERT, key=refused / KEY))

    certificate = ServerCertificate(TlsFiles(certificate=server / CERT, key=server / KEY))
    before = certificate.expires_at_s()
    server.swap(files)

    assert certificate.expires_at_s() == before


def test_what_editors_write_into_files(mount: MountFiles, ca: trustme.CA) -> None:
    """Comments in any language do no harm; a byte order mark does, and is called by its name."""
    files = made(ca)
    commented = {name: "# Zürich, Főtanúsítvány\n".encode() + content for name, content in files.items()}
    paths = mount(commented)
    ServerCertificate(TlsFiles(ca=paths / CA, certificate=paths / CERT, key=paths / KEY))
    for name, role in ((CA, "ca"), (CERT, "certificate"), (KEY, "key")):
        marked = mount(files | {name: b"\xef\xbb\xbf" + files[name]})
        with pytest.raises(UnusableFile, match=f"^{role}: begins with a byte order mark"):
            ServerCertificate(TlsFiles(ca=marked / CA, certificate=marked / CERT, key=marked / KEY))
    garbled = mount(files | {CERT: files[CERT].replace(b"MII", b"M\xffI", 1)})
    with pytest.raises(UnusableFile, match=r"^certificate: holds no certificate in PEM"):
        ServerCertificate(TlsFiles(certificate=garbled / CERT, key=garbled / KEY))
