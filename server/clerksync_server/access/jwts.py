"""JWTs, verified by PyJWT as RFC 8725 advises; and what was verified, kept until it expires.

Nothing of a token is repeated in an error, and none is kept: only its hash.
"""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jwt
from jwt import exceptions

from clerksync_server.access.public_keys import PublicKey

MAX_LENGTH = 8192
"""In characters. Clerk's tokens, which have to fit a cookie, stay below 4 KiB."""
_FORM = re.compile(r"[A-Za-z0-9_-]{1,2048}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_NO_JWT = "is not a JWT"
_ILL_FORMED = "is ill-formed"
_TIMES = ("exp", "nbf", "iat")
_TEXTS: Mapping[type[exceptions.InvalidTokenError], str] = {
    exceptions.ExpiredSignatureError: "has expired",
    exceptions.ImmatureSignatureError: "is not valid yet",
    exceptions.InvalidIssuerError: "is of another issuer",
    exceptions.InvalidAudienceError: "is for another audience",
    exceptions.InvalidAlgorithmError: "is signed with an algorithm that its key is not for",
    exceptions.InvalidSignatureError: "is not signed by a key of its issuer",
}
"""More special kinds come before those that they are kinds of."""


class TokenRejected(Exception):
    """The token proves nothing. The text tells why, and repeats nothing of it."""


class UnknownSigner(TokenRejected):
    """No key that is known has signed it. Nothing else was looked at."""


def is_jwt(token: str) -> bool:
    """Whether it has the form of a signed JWT, and a size that is worth reading."""
    return len(token) <= MAX_LENGTH and _FORM.fullmatch(token) is not None


def header_of(token: str) -> Mapping[str, Any]:
    """The header, which nobody has verified. Raises TokenRejected."""
    if not is_jwt(token):
        raise TokenRejected(_NO_JWT)
    try:
        return jwt.get_unverified_header(token)
    except Exception:  # noqa: BLE001  (whatever hostile bytes make the decoders raise, it is no JWT)
        raise TokenRejected(_NO_JWT) from None


def claimed_issuer(token: str) -> object:
    """The claim `iss`, which nobody has verified. Raises TokenRejected."""
    header_of(token)
    try:
        return jwt.decode(token, options={"verify_signature": False}).get("iss")
    except Exception:  # noqa: BLE001
        raise TokenRejected(_NO_JWT) from None


def verified_claims(
    token: str,
    keys: Sequence[PublicKey],
    *,
    required: Collection[str],
    leeway_s: float,
    issuer: str | None = None,
    audience: str | None = None,
) -> dict[str, Any]:
    """The claims of a token that one of the keys has signed, and that is valid now.

    Raises TokenRejected; UnknownSigner if none of them has.
    `exp`, `nbf` and `iat` are held against the clock, with the leeway, and are numbers. Without an issuer or an
    audience the token may be of any, or for any.
    """
    if not is_jwt(token):
        raise TokenRejected(_NO_JWT)
    rejected = UnknownSigner("is not signed by a key that is known")
    for key in keys:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                options={"require": list(required), "verify_aud": audience is not None},
                leeway=leeway_s,
                issuer=issuer,
                audience=audience,
            )
            # PyJWT takes texts for numbers as well.
            return claims | {name: float(claims[name]) for name in _TIMES if name in claims}
        except (exceptions.InvalidSignatureError, exceptions.InvalidAlgorithmError) as error:
            rejected = UnknownSigner(_text_of(error))  # Perhaps it is another's.
        except exceptions.InvalidTokenError as error:
            raise TokenRejected(_text_of(error)) from None
        except Exception:  # noqa: BLE001  (signed or not, it is not what PyJWT takes)
            raise TokenRejected(_ILL_FORMED) from None
    raise rejected


def _text_of(error: exceptions.InvalidTokenError) -> str:
    if isinstance(error, exceptions.MissingRequiredClaimError):
        return f"lacks the claim {error.claim}"
    return next((text for kind, text in _TEXTS.items() if isinstance(error, kind)), _ILL_FORMED)


_Proof = TypeVar("_Proof")


class VerifiedTokens(Generic[_Proof]):
    """What tokens have proven, by their hash, until they expire. The same token comes with many requests."""

    def __init__(self, size: int, *, now: Callable[[], float] = time.time) -> None:
        """`size` is the most tokens that are remembered; the one that was added first goes first."""
        self._size = size
        self._now = now
        self._kept: OrderedDict[bytes, tuple[float, _Proof]] = OrderedDict()
        self._generation = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, token: str, *, generation: int) -> _Proof | None:
        """What it proves, if it was verified by the same generation of keys and has not expired since."""
        self._bring_up_to(generation)
        if not self._kept:
            return None
        digest = _digest(token)
        kept = self._kept.get(digest)
        if kept is None:
            return None
        expires_at, proof = kept
        if self._now() >= expires_at:
            del self._kept[digest]
            return None
        return proof

    def add(self, token: str, proof: _Proof, *, expires_at: float, generation: int) -> None:
        """`expires_at` is in seconds since the epoch, the leeway included."""
        self._bring_up_to(generation)
        self._kept[_digest(token)] = (expires_at, proof)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def _bring_up_to(self, generation: int) -> None:
        if generation != self._generation:
            self._kept.clear()
            self._generation = generation


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
