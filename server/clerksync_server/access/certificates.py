"""What a client's certificate says: whom it names, and until when."""

import math
import re
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509

from clerksync_server.access.spiffe import is_spiffe_id

_NAME = re.compile(r"[\x21-\x7e]+")
"""What reads the same for everybody: a NUL, for one, would end the name for some."""
_NAMELESS = "names no DNS name and no SPIFFE id"


class ClientCertificate(NamedTuple):
    """What counts of a certificate that the transport has verified."""

    identities: tuple[str, ...] = ()
    """`dns:NAME` of each DNS name, and the SPIFFE id. Not the subject, and no other kind of name."""
    ends_at_s: float = math.inf
    """The end of its validity, in Unix seconds; that second is part of it."""
    problem: str | None = None
    """Why it has no identities: what follows "the client certificate". Holds none of its names."""


# Parsed once: a call costs a look-up by the bytes.
@lru_cache(maxsize=1024)
def read_certificate(pem: bytes) -> ClientCertificate:
    """Reads it. One that is not well-formed has always ended."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        ends_at_s = certificate.not_valid_after_utc.timestamp()
    except ValueError:
        return ClientCertificate((), -math.inf, "is not well-formed")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ClientCertificate((), ends_at_s, _NAMELESS)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ClientCertificate((), ends_at_s, "has extensions that are not well-formed")
    of_dns: list[str] = names.get_values_for_type(x509.DNSName)
    of_uri: list[str] = names.get_values_for_type(x509.UniformResourceIdentifier)
    # Of any other URI there is none: it could read like an identity of another kind. By SPIFFE's standard for
    # certificates one with several URIs is not to be believed.
    workloads = of_uri if len(of_uri) == 1 else []
    identities = (
        *(f"dns:{name}" for name in of_dns if _NAME.fullmatch(name)),
        *(uri for uri in workloads if is_spiffe_id(uri)),
    )
    return ClientCertificate(identities, ends_at_s, None if identities else _problem_of(of_dns, of_uri))


def _problem_of(of_dns: list[str], of_uri: list[str]) -> str:
    if of_dns:
        return "has DNS names with characters that no name has"
    if len(of_uri) > 1:
        return "has several URIs, where SPIFFE allows one, and no DNS name"
    return f"{_NAMELESS}: its URI is none" if of_uri else _NAMELESS
