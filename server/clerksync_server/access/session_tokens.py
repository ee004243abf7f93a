"""The session tokens that Clerk issues to end users: proof of who is signed in, in which organization, and since when.

Verified without a network call, by a key that is configured or by the kept JWKS. What they hold, in versions 1 and 2,
is told in Clerk's guides to session tokens and to manual JWT verification.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clerksync_server.access.jwks import Jwks
from clerksync_server.access.jwks_source import JwksSource
from clerksync_server.access.jwts import TokenRejected, UnknownSigner, VerifiedTokens, header_of, verified_claims
from clerksync_server.access.public_keys import PublicKey, UnusableKeys, keys_in_pem
from clerksync_server.errors import SessionTokenProblem, SessionTokenRefused
from clerksync_server.settings import InvalidSettings

if TYPE_CHECKING:
    from clerksync_server.settings import Settings

LEEWAY_S = 5.0
"""What Clerk's own libraries allow between two clocks."""
_REQUIRED = ("exp", "iat", "sub")
_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class SessionProof:
    """What a session token proves."""

    clerk_user_id: str
    clerk_org_id: str | None
    """The organization that is active, if one is."""
    issued_at_ms: int
    """Whole milliseconds since the epoch, rounded down."""


class SessionTokens:
    """Verifies session tokens. Lives in one event loop."""

    def __init__(
        self,
        *,
        keys: Collection[PublicKey] = (),
        jwks: Jwks | None = None,
        issuer: str | None = None,
        authorized_parties: Collection[str] = (),
        max_lifetime_s: float = 60.0,
    ) -> None:
        """A token may be signed by any of the keys. Without an issuer, or parties, those claims are not looked at.

        `max_lifetime_s` is the longest that a token may be good for: what it proves is no older than that.
        """
        self._keys = tuple(keys)
        self._jwks = jwks
        self._issuer = issuer
        self._parties = frozenset(authorized_parties)
        self._max_lifetime_s = max_lifetime_s
        self._verified: VerifiedTokens[SessionProof] = VerifiedTokens(_KEPT)

    async def start(self) -> None:
        """Looks the keys up, and keeps them fresh from now on."""
        if self._jwks is not None:
            await self._jwks.start()

    async def close(self) -> None:
        if self._jwks is not None:
            await self._jwks.close()

    def verify(self, token: str) -> SessionProof:
        """Asks nobody: keys that are unknown are looked up for those who come later.

        Raises SessionTokenRefused; KeysUnavailable if nobody can tell, because the JWKS could not be read yet.
        """
        generation = 0 if self._jwks is None else self._jwks.generation
        proof = self._verified.get(token, generation=generation)
        if proof is not None:
            return proof
        try:
            claims = verified_claims(
                token, self._keys_for(token), required=_REQUIRED, leeway_s=LEEWAY_S, issuer=self._issuer
            )
            self._check(claims)
            proof = _proof_of(claims)
        except TokenRejected as rejected:
            if isinstance(rejected, UnknownSigner) and self._jwks is not None:
                self._jwks.check_read()
            raise SessionTokenRefused(SessionTokenProblem.INVALID, str(rejected)) from None
        self._verified.add(token, proof, expires_at=claims["exp"] + LEEWAY_S, generation=generation)
        return proof

    def _keys_for(self, token: str) -> list[PublicKey]:
        header = header_of(token)
        # Clerk signs tokens of other kinds with the same keys; those name another type: RFC 8725, section 3.11.
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.upper() != "JWT":
            raise TokenRejected("is not a session token")
        kid = header.get("kid")
        if self._jwks is None or not isinstance(kid, str):
            return list(self._keys)
        named = self._jwks.known(kid)
        return list(self._keys) if named is None else [named, *self._keys]

    def _check(self, claims: Mapping[str, Any]) -> None:
        session = claims.get("sid")
        if not isinstance(session, str) or not session:
            # Clerk signs what JWT templates make with the same key, and gives those no session.
            raise TokenRejected("lacks the claim sid: it is not a session token, but perhaps a JWT template's")
        if claims["exp"] - claims["iat"] > self._max_lifetime_s + LEEWAY_S:
            raise TokenRejected(
                "lives longer than CLERKSYNC_MAX_TOKEN_AGE allows: make tokens live shorter, or raise it"
            )
        if self._parties:
            party = claims.get("azp")
            if not isinstance(party, str):
                raise TokenRejected("lacks the claim azp")
            if party not in self._parties:
                raise TokenRejected("was issued for a party (azp) that is not accepted")
        if claims.get("sts") == "pending":
            # Clerk's libraries count it as signed out.
            raise TokenRejected("is of a session that is pending: the user still has to do something")


def _proof_of(claims: Mapping[str, Any]) -> SessionProof:
    try:
        # By way of microseconds, as a datetime of it is made: the caller may pass one beside the token.
        issued_at_ms = round(claims["iat"] * 1_000_000) // 1000
    except (OverflowError, ValueError):
        raise TokenRejected("is ill-formed") from None
    return SessionProof(claims["sub"], _organization_in(claims), issued_at_ms)


def _organization_in(claims: Mapping[str, Any]) -> str | None:
    # Each version has one place for it: in the other one is an application's own claim, whatever it says.
    if claims.get("v") == 2:
        active = claims.get("o")
        organization = active.get("id") if isinstance(active, Mapping) else None
    else:
        organization = claims.get("org_id")
    return organization if isinstance(organization, str) and organization else None


def session_tokens_of(settings: "Settings") -> SessionTokens | None:
    """None if nothing is configured to verify them. Raises InvalidSettings if a key or a file is of no use."""
    keys: tuple[PublicKey, ...] = ()
    if settings.clerk_jwt_key is not None:
        try:
            keys = keys_in_pem(settings.clerk_jwt_key)
        except UnusableKeys as error:
            raise InvalidSettings(f"CLERK_JWT_KEY: {error}") from None
    jwks = None
    if settings.clerk_jwks is not None:
        jwks = Jwks(JwksSource(settings.clerk_jwks), variable="CLERKSYNC_CLERK_JWKS")
    if not keys and jwks is None:
        return None
    return SessionTokens(
        keys=keys,
        jwks=jwks,
        issuer=settings.clerk_issuer,
        authorized_parties=settings.authorized_parties,
        max_lifetime_s=settings.max_token_age_s,
    )
