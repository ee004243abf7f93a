"""What goes over the wire to Postgres: whether it is encrypted, and why it could not be."""

import ipaddress
import os
import ssl
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, urlsplit

import structlog

_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
_log = structlog.get_logger(__name__)


def tell_of_plaintext(urls: Mapping[str, str]) -> None:
    """Warns of URLs, by the name of their variable, that let a connection to another machine go unencrypted."""
    for variable, url in urls.items():
        if may_be_plaintext(url):
            _log.warning(
                "the connection to Postgres may be unencrypted",
                variable=variable,
                hint="add ?sslmode=verify-full&sslrootcert=/path/to/ca.pem to it",
            )


def may_be_plaintext(url: str) -> bool:
    """Whether it leads to another machine and its `sslmode` does not insist on TLS.

    As asyncpg reads it: without one PGSSLMODE counts, and without that `prefer`, which goes on without TLS if the
    server, or somebody in between, says that it has none.
    """
    if insists_on_tls(url):
        return False
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    text = parts.netloc.rpartition("@")[2] or options.get("host", [os.environ.get("PGHOST", "")])[-1]
    return not all(_is_here(host) for host in unquote(text).split(","))


def insists_on_tls(url: str) -> bool:
    """Whether its `sslmode`, or PGSSLMODE if it has none, lets nothing go unencrypted."""
    mode = parse_qs(urlsplit(url).query).get("sslmode", [os.environ.get("PGSSLMODE") or "prefer"])[-1]
    return mode in _ENCRYPTED


def _is_here(host_and_port: str) -> bool:
    """Whether a host is this machine: a folder of Unix sockets, the loopback, or none given."""
    if host_and_port.startswith("/"):
        return True
    host = urlsplit(f"//{host_and_port}").hostname or "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_problem(error: BaseException) -> str | None:
    """Why there is no encrypted connection, without a value of the settings; None if it is about something else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # What comes after the comma names the host, and OpenSSL has a text for each reason.
        return f"the certificate of Postgres is not accepted: {error.verify_message.partition(',')[0]}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    return None
