"""Public keys that sign JWTs: read from PEM, and from a JWKS (RFC 7517). Pure.

Only RS256 with 2048 bits or more, and ES256. Each key is tied to its one algorithm, so that no token chooses how it is
verified: RFC 8725, section 3.1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

Algorithm: TypeAlias = Literal["RS256", "ES256"]

MAX_KEYS = 100
"""More than this in one document are no key set of anybody's."""
_LEAST_RSA_BITS = 2048
_PEM = re.compile(r"-----BEGIN (RSA )?PUBLIC KEY-----.+?-----END (RSA )?PUBLIC KEY-----", re.DOTALL)
_MEMBERS: Mapping[str, tuple[Algorithm, tuple[str, ...]]] = {
    "RSA": ("RS256", ("kty", "n", "e")),
    "EC": ("ES256", ("kty", "crv", "x", "y")),
}
"""Of each kind of key, what its public half is made of. Nothing else is read, a private half least of all."""


class UnusableKeys(Exception):
    """It cannot be read as keys that could verify anything. The text tells why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, and the algorithm that it is for."""

    algorithm: Algorithm
    key: RSAPublicKey | EllipticCurvePublicKey


def keys_in_pem(text: str) -> tuple[PublicKey, ...]:
    r"""All keys in a text of PEM blocks; `\n` may stand for line ends, as in files of variables.

    Raises UnusableKeys, also if only one of them is unusable.
    """
    blocks = [match[0] for match in _PEM.finditer(text.replace("\\n", "\n"))]
    if not blocks:
        raise UnusableKeys("holds no PEM block that begins with -----BEGIN PUBLIC KEY-----")
    return tuple(map(_key_in_block, blocks))


def keys_in_jwks(document: bytes) -> dict[str, PublicKey]:
    """The usable keys of a key set by their `kid`. Others, which may be for other purposes, are passed over.

    That may leave none: who takes back all keys is heard. Raises UnusableKeys if it is no key set.
    """
    try:
        decoded = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError):
        raise UnusableKeys("is not JSON") from None
    listed = decoded.get("keys") if isinstance(decoded, dict) else None
    if not isinstance(listed, list):
        raise UnusableKeys('is not a JWKS: expected {"keys": […]}')
    return {
        jwk["kid"]: key
        for jwk in listed[:MAX_KEYS]
        if isinstance(jwk, dict) and isinstance(jwk.get("kid"), str) and (key := _key_in_jwk(jwk)) is not None
    }


def _key_in_block(block: str) -> PublicKey:
    try:
        key = _usable(load_pem_public_key(block.encode()))
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKeys("holds a PEM block that cannot be read") from None
    if key is None:
        raise UnusableKeys(f"holds a key that is neither RSA with {_LEAST_RSA_BITS} bits or more nor EC on P-256")
    return key


def _key_in_jwk(jwk: Mapping[str, Any]) -> PublicKey | None:
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return None
    algorithm, members = _MEMBERS[kind]
    if jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        public = PyJWK({name: jwk[name] for name in members}, algorithm=algorithm)
    except (PyJWTError, KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    key = _usable(public.key)
    return key if key is not None and key.algorithm == algorithm else None


def _usable(key: object) -> PublicKey | None:
    if isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return PublicKey("RS256", key)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return PublicKey("ES256", key)
    return None
