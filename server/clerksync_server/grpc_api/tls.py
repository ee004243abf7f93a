"""The certificate that SyncService shows, and who has to have issued its clients': files, renewed without a restart."""

from collections.abc import Callable
from typing import cast

import grpc
import structlog

from clerksync.credential_files import Renewable, TlsFiles, TlsMaterial, UnusableFile
from clerksync_server.settings.encryption import expiry_of, read_server_tls

_log = structlog.get_logger(__name__)


class ServerCertificate:
    """Looks at its files whenever a connection is made, and when its expiry is asked for. For any number of threads."""

    def __init__(self, files: TlsFiles) -> None:
        """With `files.ca` every client has to show a certificate that it has issued. Raises UnusableFile."""
        self._asks_clients = files.ca is not None
        self._files = Renewable(files.paths, lambda: read_server_tls(files), on_refused=_tell_refused)
        self._handed_out = self._files.generation

    def credentials(self) -> grpc.ServerCredentials:
        """TLS 1.2 and 1.3: gRPC has none older. Connections that are open keep what they were made with."""
        renewed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._renewed)  # Its types lack the None.
        return grpc.dynamic_ssl_server_credentials(_configuration(self._files.value), renewed, self._asks_clients)

    def expires_at_s(self) -> float:
        """When the certificate that is shown now ends, in Unix seconds."""
        self._refresh()
        return expiry_of(self._files.value).timestamp()

    def _refresh(self) -> None:
        if self._files.refresh():
            _log.info("a renewed certificate is shown", expires=expiry_of(self._files.value).isoformat())

    def _renewed(self) -> "grpc.ServerCertificateConfiguration | None":
        """Called by a thread of gRPC's for each connection; None for no change."""
        self._refresh()
        generation = self._files.generation
        if generation == self._handed_out:
            return None
        configuration = _configuration(self._files.value)
        self._handed_out = generation
        return configuration


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    assert material.key is not None
    assert material.certificate is not None
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.ca
    )


def _tell_refused(error: UnusableFile) -> None:
    _log.warning("a renewed certificate is not used; the one from before stays", file=error.role, problem=error.problem)
