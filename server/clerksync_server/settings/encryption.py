"""What the settings say about TLS and tokens on gRPC: whether it makes sense, and what it comes to."""

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509

from clerksync.credential_files import Role, TlsFiles, UnusableFile, read_tls, read_token
from clerksync.credentials import Credentials, stays_on_this_machine
from clerksync_server.settings.certificates import read_server_tls

if TYPE_CHECKING:
    from clerksync_server.settings.model import Settings

_CERT, _KEY, _CLIENT_CA = "CLERKSYNC_GRPC_TLS_CERT", "CLERKSYNC_GRPC_TLS_KEY", "CLERKSYNC_GRPC_TLS_CLIENT_CA"
_PLAINTEXT = "CLERKSYNC_GRPC_PLAINTEXT"
_SERVICE = "CLERKSYNC_SERVICE_TLS_"
_SERVER_FILES: Mapping[Role, str] = {"certificate": _CERT, "key": _KEY, "ca": _CLIENT_CA}
_CLIENT_FILES: Mapping[Role, str] = {
    "certificate": f"{_SERVICE}CERT",
    "key": f"{_SERVICE}KEY",
    "ca": f"{_SERVICE}CA",
    "token": "CLERKSYNC_SERVICE_TOKEN_FILE",
}
_Value = TypeVar("_Value")


class UnusableSettingFile(Exception):
    """A file that a setting names cannot be used. The text names the variable."""


def contradictions(settings: "Settings") -> list[str]:
    """Settings that do not go together, whichever command reads them. Looks at no file."""
    problems = []
    for certificate, key, prefix in (
        (settings.grpc_tls_cert, settings.grpc_tls_key, "CLERKSYNC_GRPC_TLS_"),
        (settings.service_tls_cert, settings.service_tls_key, _SERVICE),
    ):
        if certificate and not key:
            problems.append(f"{prefix}KEY: is not set, and {prefix}CERT needs it")
        if key and not certificate:
            problems.append(f"{prefix}CERT: is not set, and {prefix}KEY needs it")
    if settings.grpc_tls_client_ca and not settings.grpc_tls_cert:
        problems.append(f"{_CERT}: is not set, and {_CLIENT_CA} needs it")
    if settings.grpc_plaintext and settings.grpc_tls_cert:
        problems.append(f"{_PLAINTEXT}: is set beside {_CERT}; set one of them")
    if settings.grpc_tls_cert and settings.grpc_transport == "native":
        problems.append("CLERKSYNC_GRPC_TRANSPORT: native has no TLS; set grpcio, or have a mesh or a sidecar encrypt")
    if not settings.service_tls_ca and (settings.service_tls_cert or settings.service_tls_name):
        problems.append(f"{_SERVICE}CA: is not set, and the other settings of {_SERVICE[:-1]} need it")
    return problems


def serving_problems(settings: "Settings") -> list[str]:
    """What keeps `clerksync service` from serving gRPC."""
    if not settings.grpc_tls_cert and not settings.grpc_plaintext:
        return [
            (
                f"{_CERT}: is not set, and gRPC without TLS has to be asked for; set it and {_KEY}, "
                f"or {_PLAINTEXT}=1 where a mesh or a sidecar encrypts, or nobody else reaches the port"
            )
        ]
    return _unusable(server_files(settings), _SERVER_FILES, read_server_tls)


def dev_problems(settings: "Settings") -> list[str]:
    """What keeps `clerksync dev` from serving gRPC: on loopback it may be plaintext without being asked."""
    if not settings.grpc_tls_cert and _is_loopback(settings.grpc_listen.host):
        return asking_problems(settings)
    return serving_problems(settings) or asking_problems(settings)


def asking_problems(settings: "Settings") -> list[str]:
    """What keeps the front and the operators' commands from asking SyncService."""
    files = client_files(settings)
    if files is None and not settings.grpc_plaintext and not stays_on_this_machine(settings.target):
        return [
            (
                f"{_SERVICE}CA: is not set, and CLERKSYNC_SERVICE_TARGET leads to another machine; set it, "
                f"or {_PLAINTEXT}=1 where a mesh or a sidecar encrypts"
            )
        ]
    problems = _unusable(files, _client_variables(settings), read_tls)
    return problems + _unusable(settings.service_token_file, _CLIENT_FILES, read_token)


def server_files(settings: "Settings") -> TlsFiles | None:
    """The files of the server's certificate; None for plaintext."""
    if settings.grpc_tls_cert is None:
        return None
    return TlsFiles(ca=settings.grpc_tls_client_ca, certificate=settings.grpc_tls_cert, key=settings.grpc_tls_key)


def client_files(settings: "Settings") -> TlsFiles | None:
    """The files by which SyncService is asked; None for plaintext.

    Where nothing is said of that, and this environment's own SyncService is the one that is asked, they follow its
    settings: its certificate is the one that is trusted, and if it asks clients for theirs, the one that is shown.
    """
    if settings.service_tls_ca is not None:
        return TlsFiles(
            ca=settings.service_tls_ca,
            certificate=settings.service_tls_cert,
            key=settings.service_tls_key,
            server_name=settings.service_tls_name,
        )
    certificate = settings.grpc_tls_cert
    if certificate is None or "service_target" in settings.model_fields_set:
        return None
    asked = settings.grpc_tls_client_ca is not None
    return TlsFiles(
        ca=certificate,
        certificate=certificate if asked else None,
        key=settings.grpc_tls_key if asked else None,
        server_name=_first_name(certificate),
    )


def client_credentials(settings: "Settings") -> Credentials:
    """What the front and the operators' commands prove themselves by. Raises UnusableSettingFile."""
    try:
        return Credentials(tls=client_files(settings), token_file=settings.service_token_file)
    except UnusableFile as error:
        raise UnusableSettingFile(_told(error, _client_variables(settings))) from None


def told_of_server(error: UnusableFile) -> UnusableSettingFile:
    """The same, by the name of the server's variable."""
    return UnusableSettingFile(_told(error, _SERVER_FILES))


def _first_name(certificate: Path) -> str | None:
    """A name that the certificate is for; None if it has none, or cannot be read, which others tell."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    of_dns: list[str] = names.get_values_for_type(x509.DNSName)
    of_ip = map(str, names.get_values_for_type(x509.IPAddress))
    return next((name.replace("*", "any", 1) for name in of_dns), None) or next(of_ip, None)


def _client_variables(settings: "Settings") -> Mapping[Role, str]:
    """Whose fault it is, where the client follows the server's settings."""
    if settings.service_tls_ca is not None:
        return _CLIENT_FILES
    return {**_CLIENT_FILES, "ca": _CERT, "certificate": _CERT, "key": _KEY}


def _unusable(files: "_Value | None", variables: Mapping[Role, str], read: "Callable[[_Value], object]") -> list[str]:
    if files is None:
        return []
    try:
        read(files)
    except UnusableFile as error:
        return [_told(error, variables)]
    return []


def _told(error: UnusableFile, variables: Mapping[Role, str]) -> str:
    return f"{variables[error.role]}: {error.problem}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
