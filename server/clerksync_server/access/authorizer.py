"""Lets calls in, or turns them away."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from clerksync_server.access.callers import ANONYMOUS, Caller
from clerksync_server.access.certificates import ClientCertificate, read_certificate
from clerksync_server.access.policy import Policy
from clerksync_server.access.tokens import hash_of
from clerksync_server.errors import NotAllowed, Unauthenticated

_SCHEME = "bearer "
_MAX_TOKEN = 16 * 1024
_MOST_KNOWN = 10_000
_CERTIFICATE = "x509_pem_cert"
"""Where gRPC keeps the client's certificate, with a resumed TLS session too."""
_NO_CERTIFICATE = ClientCertificate()

Metadata = Iterable[tuple[str, str | bytes]]


class TokenVerifier(Protocol):
    """Knows bearer tokens of one kind."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def identity_of(self, token: str) -> str | None:
        """Whose token it is; None if it is not of this kind.

        Raises Unauthenticated if it is, and is not valid; KeysUnavailable if nobody can tell now.
        """
        ...


class Access:
    """Tells who calls, by certificate or bearer token, and asks the policy."""

    def __init__(
        self,
        policy: Callable[[], Policy] | None,
        *,
        tokens: Callable[[], Mapping[str, str]] = dict,
        verifiers: Sequence[TokenVerifier] = (),
        certificates: bool = True,
    ) -> None:
        """Without a policy everybody may do everything. `tokens` are names by the hashes of their tokens.

        `certificates`: whether clients show any; to look for one costs as much as all the rest.
        """
        self._policy = policy
        self._tokens = tokens
        self._verifiers = verifiers
        self._certificates = certificates

    @property
    def asks(self) -> bool:
        """Whether anybody is asked who they are."""
        return self._policy is not None

    async def start(self) -> None:
        """Gets ready what tokens are verified with, as far as it can be had."""
        await asyncio.gather(*(verifier.start() for verifier in self._verifiers))

    async def close(self) -> None:
        for verifier in self._verifiers:
            await verifier.close()

    async def admit(self, method: str, context: Any, metadata: Metadata) -> Caller:
        """Who makes a call of a method, `package.Service/Method`.

        Raises Unauthenticated or NotAllowed; KeysUnavailable if nobody can tell now.
        """
        if self._policy is None:
            return _ANYBODY
        headers = [value for key, value in metadata if key == "authorization"]
        identities: tuple[str, ...] = (await self._of_token(headers),) if headers else ()
        certificate = _certificate_of(context) if self._certificates else _NO_CERTIFICATE
        identities += certificate.identities
        policy = self._policy()
        caller = policy.known.get((identities, method))
        if caller is None:
            caller = _judge(policy, identities, method, certificate.problem)
            if len(policy.known) < _MOST_KNOWN:
                policy.known[identities, method] = caller
        return caller

    async def _of_token(self, headers: Sequence[str | bytes]) -> str:
        header = headers[0]
        if len(headers) > 1 or not isinstance(header, str) or header[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated("authorization: expected one value, Bearer and a token")
        token = header[len(_SCHEME) :].strip()
        if not 0 < len(token) <= _MAX_TOKEN:
            raise Unauthenticated("authorization: the token is missing or too long")
        if (name := self._tokens().get(hash_of(token))) is not None:
            return f"token:{name}"
        for verifier in self._verifiers:
            if (identity := await verifier.identity_of(token)) is not None:
                return identity
        raise Unauthenticated("authorization: the token is not known here")


def _judge(policy: Policy, identities: tuple[str, ...], method: str, problem: str | None) -> Caller:
    """`problem` is why a certificate names nobody."""
    for identity in identities:
        grant = policy.of(identity)
        if grant is not None and method in grant.methods:
            return Caller(identity, grant.must_prove_sessions, grant.calls_per_second)
    # What anybody may, the others may as well.
    anybody = policy.of(ANONYMOUS)
    if anybody is not None and method in anybody.methods:
        identity = identities[0] if identities else ANONYMOUS
        return Caller(identity, anybody.must_prove_sessions, anybody.calls_per_second)
    if identities:
        raise NotAllowed(identities[0])
    if problem is not None:
        raise Unauthenticated(f"the client certificate {problem}")
    raise Unauthenticated("a client certificate or a bearer token is needed", missing=True)


_ANYBODY = Caller(ANONYMOUS)


def everyone() -> Access:
    """For development and tests: nobody is asked who they are."""
    return Access(None)


def _certificate_of(context: Any) -> ClientCertificate:
    """The client's certificate, which the transport has verified when the session began.

    Raises Unauthenticated if it has ended since: a connection may outlive it, and a resumed session is not verified.
    """
    properties: Mapping[str, Sequence[bytes]] = context.auth_context() or {}
    shown = properties.get(_CERTIFICATE)
    if not shown:
        return _NO_CERTIFICATE
    certificate = read_certificate(shown[0])
    if time.time() > certificate.ends_at_s:
        problem = certificate.problem or "has ended: connect anew with a renewed one"
        raise Unauthenticated(f"the client certificate {problem}", identity=next(iter(certificate.identities), None))
    return certificate
