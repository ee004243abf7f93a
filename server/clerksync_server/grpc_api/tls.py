"""The certificate that SyncService shows, and who has to have issued its clients': files, renewed without a restart."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import grpc
import structlog

from clerksync.credential_files import Renewable, TlsFiles, TlsMaterial, UnusableFile
from clerksync_server.settings.certificates import (
    USABLE_KEYS,
    begins_later,
    expired_authorities,
    expiry_of,
    read_server_tls,
)

_log = structlog.get_logger(__name__)
_ANY_PORT = "127.0.0.1:0"


class ServerCertificate:
    """Looks at its files whenever a connection is made, and when its expiry is asked for. For any number of threads."""

    def __init__(self, files: TlsFiles) -> None:
        """With `files.ca` every client has to show a certificate that it has issued. Raises UnusableFile."""
        self._asks_clients = files.ca is not None
        self._shown: TlsMaterial | None = None
        self._files = Renewable(files.paths, lambda: self._read(files), on_refused=_tell_refused)
        self._shown = self._files.value
        self._handed_out = self._files.generation
        _tell_doubts(self._files.value)

    def credentials(self) -> grpc.ServerCredentials:
        """TLS 1.2 and 1.3: gRPC has none older. Connections that are open keep what they were made with."""
        return _credentials(self._files.value, self._renewed, asks_clients=self._asks_clients)

    def expires_at_s(self) -> float:
        """When the certificate that is shown now ends, in Unix seconds."""
        self._refresh()
        return expiry_of(self._files.value).timestamp()

    def _read(self, files: TlsFiles) -> TlsMaterial:
        material = read_server_tls(files, self._shown)
        _check_with_grpc(material)
        return material

    def _refresh(self) -> None:
        if self._files.refresh():
            self._shown = self._files.value
            _log.info("a renewed certificate is shown", expires=expiry_of(self._files.value).isoformat())
            _tell_doubts(self._files.value)

    def _renewed(self) -> "grpc.ServerCertificateConfiguration | None":
        """Called by a thread of gRPC's for each connection; None for no change."""
        self._refresh()
        generation = self._files.generation
        if generation == self._handed_out:
            return None
        configuration = _configuration(self._files.value)
        self._handed_out = generation
        return configuration


def _credentials(
    material: TlsMaterial,
    renewed: "Callable[[], grpc.ServerCertificateConfiguration | None]",
    *,
    asks_clients: bool,
) -> grpc.ServerCredentials:
    typed = cast("Callable[[], grpc.ServerCertificateConfiguration]", renewed)  # Its types lack the None.
    return grpc.dynamic_ssl_server_credentials(_configuration(material), typed, asks_clients)


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    assert material.key is not None
    assert material.certificate is not None
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.ca
    )


def _check_with_grpc(material: TlsMaterial) -> None:
    """Raises UnusableFile for what only gRPC's own TLS refuses.

    Of what its callback returns it tells nobody that it does not use it: it would go on with the old certificate, and
    we believe that it shows the new one.
    """
    if not _is_taken(TlsMaterial(None, material.certificate, material.key)):
        raise UnusableFile(
            "certificate", f"has, or its key has, a form that gRPC does not take: expected {USABLE_KEYS}"
        )
    if material.ca is not None and not _is_taken(material):
        raise UnusableFile("ca", "holds a certificate that gRPC does not take")


def _is_taken(material: TlsMaterial) -> bool:
    """Whether a server, made for that alone and gone in milliseconds, starts with it. If none could start, it is."""
    server = grpc.server(ThreadPoolExecutor(1))
    try:
        credentials = _credentials(material, lambda: None, asks_clients=material.ca is not None)
        server.add_secure_port(_ANY_PORT, credentials)
    except RuntimeError:
        try:
            server.add_insecure_port(_ANY_PORT)
        except RuntimeError:
            return True
        return False
    finally:
        # Only a server that ran lets go of its port.
        server.start()
        server.stop(None).wait()
    return True


def _tell_refused(error: UnusableFile) -> None:
    _log.warning("a renewed certificate is not used; the one from before stays", file=error.role, problem=error.problem)


def _tell_doubts(material: TlsMaterial) -> None:
    """Of what is used all the same."""
    if (begin := begins_later(material)) is not None:
        _log.warning("the certificate is not valid yet", valid_from=begin.isoformat())
    if expired := expired_authorities(material):
        _log.warning("authorities of client certificates have expired", numbers=expired)
