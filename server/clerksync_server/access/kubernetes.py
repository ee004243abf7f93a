"""Callers that prove who they are by the service-account token which Kubernetes projects into their Pod.

Such a token is a JWT of the cluster, for one audience, renewed before it expires. Verified here, against the cluster's
keys: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens.
"""

import re
from typing import TYPE_CHECKING

from clerksync_server.access.jwks import Jwks
from clerksync_server.access.jwks_source import JwksSource
from clerksync_server.access.jwts import TokenRejected, VerifiedTokens, claimed_issuer, header_of, verified_claims
from clerksync_server.errors import Unauthenticated

if TYPE_CHECKING:
    from clerksync_server.settings import Settings

_REQUIRED = ("iss", "aud", "exp", "iat", "sub")
_LEEWAY_S = 10.0
_KEPT = 10_000
_SUBJECT = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})")


class KubernetesTokens:
    """Verifies service-account tokens of one cluster, for one audience. Lives in one event loop."""

    def __init__(self, keys: Jwks, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._verified: VerifiedTokens[str] = VerifiedTokens(_KEPT)

    async def start(self) -> None:
        """Looks the cluster's keys up, and keeps them fresh from now on: who shows a kept token never asks for them."""
        await self._keys.start()

    async def close(self) -> None:
        await self._keys.close()

    async def identity_of(self, token: str) -> str | None:
        """`kubernetes:NAMESPACE/NAME`; None if this is not a JWT of the cluster.

        Raises Unauthenticated if it is one, and is not valid here and now; KeysUnavailable if nobody can tell, because
        the cluster's keys could not be read yet.
        """
        identity = self._verified.get(token, generation=self._keys.generation)
        if identity is not None:
            return identity
        try:
            if claimed_issuer(token) != self._issuer:
                return None
            kid = header_of(token).get("kid")
        except TokenRejected:
            return None
        try:
            return await self._verify(token, kid)
        except TokenRejected as rejected:
            raise Unauthenticated(f"the service account's token {rejected}") from None

    async def _verify(self, token: str, kid: object) -> str:
        if not isinstance(kid, str):
            raise TokenRejected("does not name its key")
        key = await self._keys.found(kid)
        if key is None:
            self._keys.check_read()
            raise TokenRejected("is signed by a key that the cluster does not name")
        claims = verified_claims(
            token, [key], required=_REQUIRED, leeway_s=_LEEWAY_S, issuer=self._issuer, audience=self._audience
        )
        subject = _SUBJECT.fullmatch(claims["sub"])
        if subject is None:
            raise TokenRejected("is not a service account's")
        identity = f"kubernetes:{subject[1]}/{subject[2]}"
        expires_at = claims["exp"] + _LEEWAY_S
        self._verified.add(token, identity, expires_at=expires_at, generation=self._keys.generation)
        return identity


def kubernetes_tokens_of(settings: "Settings") -> KubernetesTokens | None:
    """None if service-account tokens are not to be taken. Raises InvalidSettings if a file is of no use."""
    if settings.kubernetes_issuer is None or settings.kubernetes_jwks is None:
        return None
    source = JwksSource(settings.kubernetes_jwks, settings.kubernetes_ca, settings.kubernetes_token_file)
    keys = Jwks(source, variable="CLERKSYNC_KUBERNETES_JWKS")
    return KubernetesTokens(keys, issuer=settings.kubernetes_issuer, audience=settings.kubernetes_audience)
