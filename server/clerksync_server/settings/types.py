"""The kinds of values that settings have, and how they are read. No error repeats a value: it may be a secret."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from clerksync_server.clerk.signature import SignatureVerifier

_WHSEC_EXPECTED = "holds no secret: expected whsec_… as Clerk's dashboard shows it"
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_TARGET = re.compile(
    r"(?:dns:(?://[^/]*/)?[^/:]+(?::\d{1,5})?|(?:ipv4|ipv6|unix|unix-abstract|xds|passthrough):.+|(?:\[[0-9A-Fa-f:]+\]|[\w.-]+):\d{1,5})"
)
_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
"""32 bytes in URL-safe base64. The library itself passes over letters that are not of that alphabet."""
_KEY_EXPECTED = (
    "expected Fernet keys, separated by commas; this makes one: "
    "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)
_URL_EXAMPLE = "expected postgresql://user:password@host:5432/database, with special characters percent-encoded"

_JWKS_EXAMPLE = "expected the path of a file, or https://HOST/PATH without a password"


class Address(NamedTuple):
    """Where to listen. Port 0 takes any that is free."""

    host: str
    port: int

    def reachable(self) -> "Address":
        """Where a client on this machine finds it."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return Address(loopback.get(self.host, self.host), self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected host:port, for example 127.0.0.1:8080 or [::1]:8080")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets, for example [::1]:8080")
    elif host and re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", host, re.ASCII) is None:
        raise ValueError("the host is neither a name nor an address")
    return Address(host or "0.0.0.0", int(port))  # noqa: S104  (":8080" asks for every interface)


def _database_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        url = urlsplit(text)
        hosts = url.netloc.rpartition("@")[2].split(",")
        ports = [urlsplit(f"//{host}").port for host in hosts]
        options = parse_qs(url.query, strict_parsing=bool(url.query))
    except ValueError:  # Its text may repeat the password.
        raise ValueError(_URL_EXAMPLE) from None
    if url.scheme not in ("postgres", "postgresql") or 0 in ports or "#" in text or any(".." in host for host in hosts):
        raise ValueError(_URL_EXAMPLE)
    if not _SSL_MODES.issuperset(options.get("sslmode", [])):
        raise ValueError(f"its sslmode is none of {', '.join(sorted(_SSL_MODES))}")
    return value


def _split(otherwise: str) -> Callable[[Any], Any]:
    """Reads what is comma-separated, spaces around the commas allowed; `otherwise` is told if there is nothing."""

    def split(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not parts:
            raise ValueError(otherwise)
        return parts

    return split


def _origins(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    origins = tuple(part.strip() for part in value.split(",") if part.strip())
    if not origins:
        # Not the same as unset, which lets everything pass.
        raise ValueError("names none: expected origins as https://app.example.com, separated by commas")
    if any(origin.endswith("/") for origin in origins):
        raise ValueError("an origin has no slash at its end: expected https://app.example.com")
    return origins


def _jwks_location(value: str) -> str:
    """A path, or a URL that nobody on the way can change the answer of."""
    if "://" not in value:
        return value
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        raise ValueError(_JWKS_EXAMPLE) from None
    if not host or "@" in url.netloc or "#" in value:
        raise ValueError(_JWKS_EXAMPLE)
    if url.scheme == "https" or (url.scheme == "http" and _is_loopback(host)):
        return value
    raise ValueError(f"{_JWKS_EXAMPLE}; http:// only on the loopback interface")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _secrets(value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if value:
        SignatureVerifier([secret.get_secret_value() for secret in value])
    return value


def _fernet_keys(value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if any(_FERNET_KEY.fullmatch(key.get_secret_value()) is None for key in value):
        raise ValueError(_KEY_EXPECTED)
    return value


def _target(value: str) -> str:
    if _TARGET.fullmatch(value) is None:
        raise ValueError("expected a gRPC target, for example dns:///clerksync:50051 or 127.0.0.1:50051; no http://")
    return value


def _transport(value: str) -> str:
    if value == "native" and find_spec("pygrpc_native") is None:
        raise ValueError("native needs pygrpc-native, which is not installed: pip install 'clerksync[server,native]'")
    return value


ListenAddress = Annotated[Address, NoDecode, BeforeValidator(_address)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
WebhookSecrets = Annotated[
    tuple[SecretStr, ...], NoDecode, BeforeValidator(_split(_WHSEC_EXPECTED)), AfterValidator(_secrets)
]
QuarantineKeys = Annotated[
    tuple[SecretStr, ...], NoDecode, BeforeValidator(_split(_KEY_EXPECTED)), AfterValidator(_fernet_keys)
]
GrpcTarget = Annotated[str, AfterValidator(_target)]
Reflection = Literal["operators", "everyone", "off"]
Transport = Annotated[Literal["grpcio", "native"], AfterValidator(_transport)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]
JwksLocation = Annotated[str, AfterValidator(_jwks_location)]
