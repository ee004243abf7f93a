"""Why there is no connection to Postgres, in words that name the variable, and the part of it, that is at fault."""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from clerksync_server.database.errors import describe
from clerksync_server.database.wire import insists_on_tls
from clerksync_server.errors import DatabaseUnavailable

URL = "DATABASE_URL"
DIRECT_URL = "CLERKSYNC_DATABASE_DIRECT_URL or, without it, DATABASE_URL"
_NOT_UNDERSTOOD = (
    "is not understood. It has the form postgresql://user:password@host:5432/database, with special characters in the "
    "password percent-encoded"
)
_FROM_ENVIRONMENT = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "gsslib": "PGGSSLIB",
}
_FILES = ("sslrootcert", "sslcrl", "sslcert", "sslkey")
_TLS_VERSIONS = frozenset({"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"})
_CHOICES = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
    "sslnegotiation": frozenset({"postgres", "direct"}),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "target_session_attrs": frozenset(
        {"any", "primary", "standby", "read-write", "read-only", "prefer-standby"},
    ),
    "gsslib": frozenset({"gssapi", "sspi"}),
}


def connect_problem(error: BaseException, url: str, variable: str = URL) -> str:
    """Why nothing connects to `url`, which `variable` holds. Holds no value of it, and no text that may repeat one."""
    return _problem_of_url(error, url, variable) or describe(error)


@contextmanager
def connecting(url: str, variable: str = URL) -> Iterator[None]:
    """Raises DatabaseUnavailable for what is to be mended in the URL, or on the way; the rest passes as it is."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        if problem := _problem_of_url(error, url, variable):
            raise DatabaseUnavailable(problem) from error
        raise


def _problem_of_url(error: BaseException, url: str, variable: str) -> str | None:
    match error:
        case ssl.SSLCertVerificationError() | TimeoutError():
            return None
        case asyncpg.PostgresError(sqlstate=str(sqlstate), message=str(message)):
            named = re.search(r'parameter "([^"]*)"', message)
            is_about_options = sqlstate.startswith("22") or (sqlstate.startswith("42") and named is not None)
            return _refused_option(named[1] if named else "", url, variable) if is_about_options else None
        case asyncpg.PostgresConnectionError() | ConnectionError():
            return _broken_off(error, url)
        case asyncpg.InterfaceError() | ValueError():
            completed = [name for name in ("PGHOST", "PGPORT") if name in os.environ]
            return next(_wrong_parts(url, variable), f"{' with '.join([variable, *completed])} {_NOT_UNDERSTOOD}")
        case OSError():
            return next(_wrong_parts(url, variable), None)
    return None


def _refused_option(named: str, url: str, variable: str) -> str:
    """What Postgres says repeats the value. The option is named if the URL has it: in `options` may be anything."""
    given = {name.lower(): name for name in parse_qs(urlsplit(url).query)}
    option = given.get(named.lower())
    return f"{variable}: Postgres does not take {f'its option {option}' if option else 'one of its options'}"


def _broken_off(error: BaseException, url: str) -> str | None:
    """What became of the connection before Postgres said anything. asyncpg tells it by texts that name the host."""
    text = str(error) if isinstance(error, ConnectionError) else ""
    if "rejected SSL upgrade" in text and insists_on_tls(url):
        return "sslmode asks for TLS, and Postgres offers none"
    if "rejected SSL upgrade" in text and _option(url, "sslmode")[1] == "allow":
        return "Postgres refuses the connection without TLS, and offers none"
    if "SSL" in text:
        return "the question for TLS was not answered as Postgres does: something else answers, such as a proxy"
    if isinstance(error, asyncpg.PostgresConnectionError | ConnectionResetError) or "connection_lost" in text:
        # By then TLS is there, and no password was asked for: that is how a certificate is refused.
        certificate = ", or Postgres does not accept the certificate of sslcert" if _option(url, "sslcert")[1] else ""
        return f"the connection was closed while it was made: perhaps no Postgres answers{certificate}"
    return None


def _wrong_parts(url: str, variable: str) -> Iterator[str]:
    """Which options asyncpg does not take, of those that name a file or a choice."""
    try:
        options = {option: _option(url, option) for option in _FROM_ENVIRONMENT}
    except ValueError:
        return
    told = {option: name if name != option else f"{variable}: its {name}" for option, (name, _) in options.items()}
    values = {option: value for option, (_, value) in options.items()}
    for option, choices in _CHOICES.items():
        if values[option] and values[option] not in choices:
            yield f"{told[option]} is none of {', '.join(sorted(choices))}"
    if values["sslmode"] == "disable":
        return
    for option in _FILES:
        if values[option] and (problem := _unreadable(values[option])):
            yield f"{told[option]} names a file that cannot be read: {problem}"
    if values["sslmode"].startswith("verify-") and not values["sslrootcert"] and not _has_default_root():
        yield f"{told['sslrootcert']} is missing: sslmode={values['sslmode']} needs a file with the CA of Postgres"
    for option in ("sslrootcert", "sslcrl"):
        if values[option] and insists_on_tls(url) and not _holds_certificates(values[option]):
            yield f"{told[option]} names a file that holds no certificate"
    password = parse_qs(urlsplit(url).query).get("sslpassword", [""])[-1]
    if values["sslcert"] and not _is_pair(values["sslcert"], values["sslkey"], password):
        yield f"{told['sslcert']} and {options['sslkey'][0]} name no certificate and its key"


def _option(url: str, option: str) -> tuple[str, str]:
    """Where asyncpg has it from, and its value: the last one in the URL, else that of the environment."""
    given = parse_qs(urlsplit(url).query).get(option)
    in_environment = _FROM_ENVIRONMENT[option]
    if given is None and (value := os.environ.get(in_environment)):
        return in_environment, value
    return option, given[-1] if given else ""


def _unreadable(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:
        return "it is no path"
    return None


def _has_default_root() -> bool:
    try:
        return (Path.home() / ".postgresql" / "root.crt").exists()
    except (OSError, RuntimeError):
        return False


def _holds_certificates(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (OSError, ValueError):
        return False
    return True


def _is_pair(certificate: str, key: str, password: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key or None, password)
    except (OSError, ValueError):
        return False
    return True
