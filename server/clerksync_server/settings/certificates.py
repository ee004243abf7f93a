"""Whether the files of a server's certificate can be used: what gRPC takes, and what its clients will believe."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from clerksync.credential_files import TlsFiles, TlsMaterial, UnusableFile, read_tls

USABLE_KEYS = "RSA with at least 2048 bits, or P-256 or P-384 as a named curve"
"""gRPC shows P-521 and Ed25519 as well, but its own clients, the front among them, refuse these."""
_LEAST_RSA_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1)


def read_server_tls(files: TlsFiles, shown: TlsMaterial | None = None) -> TlsMaterial:
    """Reads the files of a server's certificate. `shown` is what they are to take the place of; None at the start.

    Raises UnusableFile: also for a certificate that has ended, and for a renewed one that has not begun.
    """
    material = read_tls(files)
    try:
        certificate = _certificate_of(material)
        for_servers, has_usable_key = _is_for_servers(certificate), _has_usable_key(certificate)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):  # OpenSSL takes some that this does not.
        raise UnusableFile("certificate", "is no well-formed certificate") from None
    if not for_servers:
        raise UnusableFile("certificate", "is not for servers: its extended key usage has to hold serverAuth")
    if not has_usable_key:
        raise UnusableFile("certificate", f"has a key of a kind that gRPC cannot use: expected {USABLE_KEYS}")
    if material.ca is not None:
        _check_authorities(material.ca)
    if shown is None:
        if certificate.not_valid_after_utc <= _now():
            raise UnusableFile("certificate", "has expired")
    elif material.certificate != shown.certificate:
        _check_renewed(certificate, _certificate_of(shown))
    return material


def begins_later(material: TlsMaterial) -> datetime | None:
    """The begin of the certificate's validity, if it is still to come."""
    begin = _certificate_of(material).not_valid_before_utc
    return begin if begin > _now() else None


def expiry_of(material: TlsMaterial) -> datetime:
    """The end of the certificate's validity."""
    return _certificate_of(material).not_valid_after_utc


def expired_authorities(material: TlsMaterial) -> list[int]:
    """Which authorities for clients have expired, by their number in the file, from 1."""
    authorities = x509.load_pem_x509_certificates(material.ca) if material.ca else []
    return [number for number, each in enumerate(authorities, 1) if each.not_valid_after_utc <= _now()]


def _certificate_of(material: TlsMaterial) -> x509.Certificate:
    assert material.certificate is not None
    return x509.load_pem_x509_certificate(material.certificate)


def _has_usable_key(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _LEAST_RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)


def _is_for_servers(certificate: x509.Certificate) -> bool:
    """Clients ask for this one purpose: "any" is not enough for them."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in purposes


def _check_renewed(renewed: x509.Certificate, shown: x509.Certificate) -> None:
    """Whatever ends later is the better one, once the one that is shown has ended."""
    now = _now()
    if shown.not_valid_after_utc <= now:
        if renewed.not_valid_after_utc < shown.not_valid_after_utc:
            raise UnusableFile("certificate", "has expired, before the one that is shown")
    elif renewed.not_valid_after_utc <= now:
        raise UnusableFile("certificate", "has expired")
    elif renewed.not_valid_before_utc > now:
        usable_from = min(renewed.not_valid_before_utc, shown.not_valid_after_utc)
        raise UnusableFile("certificate", "is not valid yet; it is used once it is", until_s=usable_from.timestamp())


def _check_authorities(pem: bytes) -> None:
    try:
        authorities = [_is_authority(certificate) for certificate in x509.load_pem_x509_certificates(pem)]
    except (ValueError, x509.DuplicateExtension):
        raise UnusableFile("ca", "holds a certificate that is not well-formed") from None
    if not all(authorities):
        number = authorities.index(False) + 1
        raise UnusableFile(
            "ca", f"holds a certificate, number {number}, that is no authority's: its basicConstraints lack CA:TRUE"
        )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        # X.509 1 has no extensions; gRPC takes its self-signed ones.
        return certificate.version is x509.Version.v1 and certificate.issuer == certificate.subject


def _now() -> datetime:
    return datetime.now(UTC)
