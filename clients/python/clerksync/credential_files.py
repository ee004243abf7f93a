"""Certificates, keys and tokens in files, which others renew while the process runs.

They are read anew when they change, and a new set is taken only if it is complete and fits together: whoever renews
files one by one, or writes half of one, leaves the old set in use.
"""

import codecs
import math
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeAlias, TypeVar

PathLike: TypeAlias = str | os.PathLike[str]
Role: TypeAlias = Literal["ca", "certificate", "key", "token"]
_Value = TypeVar("_Value")
_Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
_ATTEMPTS: Final = 3
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""What may follow `Bearer` in a header."""


class UnusableFile(ValueError):
    """A file cannot be used. The text says why, and holds nothing of its content."""

    def __init__(self, role: Role, problem: str, *, until_s: float = math.inf) -> None:
        """`until_s`: when the same content is to be looked at again, in Unix seconds."""
        super().__init__(f"{role}: {problem}")
        self.role = role
        self.problem = problem
        self.until_s = until_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where the files for TLS are, all of them PEM. Raises ValueError for a certificate without its key.

    `TlsFiles(ca="/etc/clerksync/tls/ca.crt")` verifies SyncService; with `certificate` and `key` the client proves
    itself too, where SyncService asks for that.
    """

    ca: PathLike | None = None
    """Who may have issued SyncService's certificate. None: the public authorities that grpcio knows."""
    certificate: PathLike | None = None
    """The client's own certificate, followed by those between it and its authority."""
    key: PathLike | None = None
    """The private key of `certificate`, not encrypted."""
    server_name: str | None = None
    """The name that the server's certificate has to hold. None: the host of the target."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: expected both or neither")

    @property
    def paths(self) -> tuple[PathLike, ...]:
        """The files that there are."""
        return tuple(path for path in (self.ca, self.certificate, self.key) if path is not None)


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What the files for TLS held when they fitted together."""

    ca: bytes | None
    certificate: bytes | None
    key: bytes | None

    def __repr__(self) -> str:
        return "TlsMaterial()"  # The key is not to get into a log.


class Renewable(Generic[_Value]):
    """What some files hold, read anew when one of them has changed. For any number of threads."""

    def __init__(
        self,
        paths: Sequence[PathLike],
        read: Callable[[], _Value],
        *,
        on_refused: Callable[[UnusableFile], None],
    ) -> None:
        """`on_refused` is told once of each state of the files that is not taken. Raises UnusableFile."""
        self._paths = paths
        self._read = read
        self._on_refused = on_refused
        self._refused: _Stamp | None = None
        self._refused_until_s = math.inf
        self._refreshing = threading.Lock()
        self.generation = 0
        """Counts what was taken since the beginning."""
        self._stamp, self.value = self._read_together()

    def refresh(self) -> bool:
        """Whether something new was taken. Costs a `stat` of each file while nothing changes, and never raises."""
        with self._refreshing:
            now = _stamp_of(self._paths)
            if now == self._stamp or (now == self._refused and time.time() < self._refused_until_s):
                return False
            try:
                stamp, value = self._read_together()
            except UnusableFile as error:
                self._refused, self._refused_until_s = now, error.until_s
                self._on_refused(error)
                return False
            self._stamp, self._refused = stamp, None
            if value == self.value:
                return False
            self.value = value
            self.generation += 1
            return True

    def _read_together(self) -> tuple[_Stamp, _Value]:
        """Reads again if the files were changed meanwhile, so that none is of another time than the rest."""
        for _ in range(_ATTEMPTS):
            before = _stamp_of(self._paths)
            try:
                value = self._read()
            except UnusableFile:
                if _stamp_of(self._paths) == before:
                    raise
                continue
            if _stamp_of(self._paths) == before:
                return before, value
        before = _stamp_of(self._paths)
        return before, self._read()


def read_tls(files: TlsFiles) -> TlsMaterial:
    """Reads what has to fit together. Raises UnusableFile."""
    ca = None if files.ca is None else _read_certificates("ca", files.ca)
    if files.certificate is None or files.key is None:
        return TlsMaterial(ca, None, None)
    certificate = _read_certificates("certificate", files.certificate)
    key = _read_bytes("key", files.key)
    try:
        # Without the callback an encrypted key would ask the terminal.
        _context().load_cert_chain(files.certificate, files.key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UnusableFile("key", "is not the key of the certificate") from None
        raise UnusableFile(
            "key", f"holds no private key in PEM, unencrypted, that can be used ({_reason(error)})"
        ) from None
    except OSError as error:
        raise UnusableFile("key", f"cannot be read: {error.strerror}") from None
    return TlsMaterial(ca, certificate, key)


def read_token(path: PathLike) -> str:
    """A bearer token: the file's text without the white space around it. Raises UnusableFile."""
    text = _read_bytes("token", path).decode("ascii", errors="replace").strip()
    if _TOKEN.fullmatch(text) is None:
        raise UnusableFile("token", "holds no token: expected up to 8192 printable ASCII characters on one line")
    return text


def _read_certificates(role: Role, path: PathLike) -> bytes:
    pem = _read_bytes(role, path)
    # Comments between the blocks may be in any language; within a block a question mark is as wrong as what it was.
    text = pem.decode("ascii", errors="replace").replace("\ufffd", "?")
    try:
        _context().load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise UnusableFile(role, "holds no certificate in PEM") from None
    return pem


def _read_bytes(role: Role, path: PathLike) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (a path may be text)
            content = file.read()
    except OSError as error:
        raise UnusableFile(role, f"cannot be read: {error.strerror}") from None
    if content.startswith(codecs.BOM_UTF8):  # gRPC does not see the block that follows it.
        raise UnusableFile(role, "begins with a byte order mark (BOM): save it without")
    return content


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "of no known kind").lower().replace("_", " ")


def _stamp_of(paths: Sequence[PathLike]) -> _Stamp:
    """Changes with the files, and with what symbolic links lead to."""
    return tuple(map(_file_stamp, paths))


def _file_stamp(path: PathLike) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  (a path may be text)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
