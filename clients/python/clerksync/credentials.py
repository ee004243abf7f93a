"""What a client proves itself by: its TLS files and its bearer token, as they are now."""

import ipaddress
import logging
from typing import Final

import grpc

from clerksync.credential_files import PathLike, Renewable, TlsFiles, TlsMaterial, UnusableFile, read_tls, read_token

CHECKED_EVERY_S: Final = 1.0
"""How often the files are looked at."""
_log = logging.getLogger("clerksync")


class Credentials:
    """Shared by all channels of a client. For any number of threads."""

    def __init__(self, *, tls: TlsFiles | None = None, token_file: PathLike | None = None) -> None:
        """Raises UnusableFile, which is a ValueError."""
        self._server_name = None if tls is None else tls.server_name
        self._tls: Renewable[TlsMaterial] | None = None
        self._token: Renewable[str] | None = None
        if tls is not None:
            self._tls = Renewable(tls.paths, lambda: read_tls(tls), on_refused=_tell_refused)
        if token_file is not None:
            self._token = Renewable([token_file], lambda: read_token(token_file), on_refused=_tell_refused)

    @property
    def renewable(self) -> bool:
        """Whether there are files to look at."""
        return self._tls is not None or self._token is not None

    @property
    def generation(self) -> int:
        """Changes when a channel has to be replaced: what proves a connection is fixed when it is made."""
        return 0 if self._tls is None else self._tls.generation

    def refresh(self) -> None:
        """Looks whether the files have changed. A new token is sent from now on; of TLS tells `generation`."""
        for files in (self._tls, self._token):
            if files is not None and files.refresh():
                _log.info("renewed credentials are in use: %s", "token" if files is self._token else "TLS")

    def authorization(self) -> tuple[tuple[str, str], ...]:
        """The metadata that a call carries."""
        return () if self._token is None else (("authorization", f"Bearer {self._token.value}"),)

    def of_channel(self) -> grpc.ChannelCredentials | None:
        """For a channel that is made now; None for plaintext."""
        if self._tls is None:
            return None
        files = self._tls.value
        return grpc.ssl_channel_credentials(files.ca, files.key, files.certificate)

    def channel_options(self) -> tuple[tuple[str, str], ...]:
        """What such a channel has to be told beside them."""
        if self._server_name is None:
            return ()
        return (("grpc.ssl_target_name_override", self._server_name),)


def stays_on_this_machine(target: str) -> bool:
    """Whether a gRPC target leads nowhere else: no wire that others could listen to."""
    scheme, colon, rest = target.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if scheme in ("ipv4", "ipv6") and colon:
        return all(map(_is_loopback, rest.lstrip("/").split(",")))
    if scheme == "dns" and rest.startswith("//"):
        return _is_loopback(rest.rpartition("/")[2])  # Whatever name server it names.
    return _is_loopback(rest if scheme == "dns" and not rest.isdigit() else target)


def _is_loopback(address: str) -> bool:
    host = address[1:].partition("]")[0] if address.startswith("[") else address.rpartition(":")[0] or address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tell_refused(error: UnusableFile) -> None:
    _log.warning("renewed credentials are not used, the ones from before stay: %s", error)
