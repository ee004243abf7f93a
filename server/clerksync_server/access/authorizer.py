"""Lets calls in, or turns them away."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from clerksync_server.access.callers import ANONYMOUS, Caller
from clerksync_server.access.policy import Policy
from clerksync_server.access.spiffe import is_spiffe_id
from clerksync_server.access.tokens import hash_of
from clerksync_server.errors import NotAllowed, Unauthenticated

_SCHEME = "bearer "
_MAX_TOKEN = 16 * 1024
_MOST_KNOWN = 10_000
_DNS_NAMES, _URIS = "peer_dns", "peer_uri"
"""What gRPC calls the subject alternative names of a certificate, by their kinds."""

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
        if self._certificates:
            identities += _of_certificate(context)
        policy = self._policy()
        caller = policy.known.get((identities, method))
        if caller is None:
            caller = _judge(policy, identities, method)
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


def _judge(policy: Policy, identities: tuple[str, ...], method: str) -> Caller:
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
    raise Unauthenticated("a client certificate or a bearer token is needed", missing=True)


_ANYBODY = Caller(ANONYMOUS)


def everyone() -> Access:
    """For development and tests: nobody is asked who they are."""
    return Access(None)


def _of_certificate(context: Any) -> tuple[str, ...]:
    """The names in the client's certificate, which the transport has verified: of DNS, and SPIFFE ids."""
    properties: Mapping[str, Iterable[bytes]] = context.auth_context() or {}
    return (
        *(f"dns:{name.decode('ascii', 'replace')}" for name in properties.get(_DNS_NAMES, ())),
        *(identity for uri in properties.get(_URIS, ()) for identity in _of_uri(uri)),
    )


@lru_cache(maxsize=1024)
def _of_uri(uri: bytes) -> tuple[str, ...]:
    """None of any other URI: it could read like an identity of another kind, or like one below another path."""
    text = uri.decode("ascii", "replace")
    return (text,) if is_spiffe_id(text) else ()
