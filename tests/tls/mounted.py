"""Certificates in folders, as Kubernetes mounts them and cert-manager renews them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "localhost"
CERT, KEY, CA = "tls.crt", "tls.key", "ca.crt"


class Mounted:
    """A folder whose files lead through the link `..data`, which a renewal swaps for all of them at once."""

    def __init__(self, folder: Path, files: dict[str, bytes]) -> None:
        self._folder = folder
        self._versions = 0
        folder.mkdir()
        self.swap(files)
        for name in files:
            (folder / name).symlink_to(Path("..data") / name)

    def __truediv__(self, name: str) -> str:
        return str(self._folder / name)

    def read(self, name: str) -> bytes:
        """What the file holds now."""
        return (self._folder / name).read_bytes()

    def swap(self, files: dict[str, bytes]) -> None:
        """Renews all files, at once."""
        self._versions += 1
        version = self._folder / f"..version_{self._versions}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
        (self._folder / "..new").symlink_to(version.name)
        (self._folder / "..new").rename(self._folder / "..data")


def issued(ca: trustme.CA, *names: str, trusts: trustme.CA | None = None, expired: bool = False) -> dict[str, bytes]:
    """A certificate with its key, for `localhost` if no names are given, and whom to trust: its own CA, if no other."""
    not_after = datetime.now(UTC) - timedelta(minutes=1) if expired else None
    not_before = datetime.now(UTC) - timedelta(days=1) if expired else None
    leaf = ca.issue_cert(*(names or (HOST,)), not_before=not_before, not_after=not_after)
    return {
        CERT: b"".join(blob.bytes() for blob in leaf.cert_chain_pems),
        KEY: leaf.private_key_pem.bytes(),
        CA: (trusts or ca).cert_pem.bytes(),
    }


def made(
    ca: trustme.CA,
    *names: x509.GeneralName,
    key: Any = None,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    begins_in_s: float = -3600,
    ends_in_s: float = 3600,
) -> dict[str, bytes]:
    """The same with names of any kind, `localhost` if none are given, any key, purposes and validity."""
    issuer = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    issuer_key = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key, now = key or ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "operator.example")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(seconds=begins_in_s))
        .not_valid_after(now + timedelta(seconds=ends_in_s))
        .add_extension(x509.SubjectAlternativeName(names or [x509.DNSName(HOST)]), critical=False)
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    return {
        CERT: builder.sign(issuer_key, hashes.SHA256()).public_bytes(pem),
        KEY: key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted),
        CA: ca.cert_pem.bytes(),
    }
