"""Encrypts the bodies in quarantine, and opens them again. It does no I/O, and never shows a key."""

import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken

from clerksync_server.errors import BodyUnreadable

_NAME_LENGTH = 8


class BodyKeys:
    """The keys of one process: the first encrypts, any decrypts. Without keys bodies stay as they are.

    Fernet is AES-128-CBC with HMAC-SHA256 (https://cryptography.io/en/latest/fernet/); a body becomes a third longer.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """`keys` are Fernet keys: 32 bytes in URL-safe base64. Raises ValueError for any other."""
        self._ciphers = {_name_of(key): Fernet(key) for key in keys}
        self.current = next(iter(self._ciphers), None)
        """The name of the key that encrypts, as rows bear it; None if none does."""

    def seal(self, body: bytes) -> tuple[bytes, str | None]:
        """The body as it is to be kept, and the name of the key that encrypted it."""
        if self.current is None:
            return body, None
        return self._ciphers[self.current].encrypt(body), self.current

    def open(self, kept: bytes, key: str | None, sha256: bytes) -> bytes:
        """The body as it was sent, which has this hash. Raises BodyUnreadable."""
        body = kept if key is None else self._decrypt(kept, key)
        # A key opens whatever it has encrypted: only the hash tells another delivery's body, or a plain one, apart.
        if hashlib.sha256(body).digest() != sha256:
            raise BodyUnreadable(
                "the body is not the one that came with this delivery, by body_sha256: it was changed in the database"
            )
        return body

    def _decrypt(self, kept: bytes, key: str) -> bytes:
        if key not in self._ciphers:
            raise BodyUnreadable(f"the body is encrypted with the key {key}, which is not in CLERKSYNC_QUARANTINE_KEY")
        try:
            return self._ciphers[key].decrypt(kept)
        except InvalidToken:
            raise BodyUnreadable(
                f"the body is no longer as the key {key} encrypted it: it was changed in the database"
            ) from None


def _name_of(key: str) -> str:
    """Tells keys apart, and tells nothing about them: they are random, so their hash cannot be guessed."""
    return hashlib.sha256(b"clerksync quarantine key " + key.encode()).hexdigest()[:_NAME_LENGTH]
