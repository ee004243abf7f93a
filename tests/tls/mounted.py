"""Certificates in folders, as Kubernetes mounts them and cert-manager renews them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

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
