"""What Ensure calls state, and what the end user's session token proves of it.

Most calls carry no token, and come with every request of every service: those pay for one look at the field.
"""

from typing import TypeAlias

from clerksync.v1 import sync_service_pb2
from clerksync_server.access.callers import present_caller
from clerksync_server.access.session_tokens import SessionProof, SessionTokens
from clerksync_server.errors import SessionTokenProblem, SessionTokenRefused
from clerksync_server.grpc_api.fields import Fields
from clerksync_server.sync.ensure import Sighting

EnsureRequest: TypeAlias = sync_service_pb2.EnsureUserProfileRequest | sync_service_pb2.EnsureOrganizationRequest
_TIME = "token_issued_at"


class Proving:
    """Reads Ensure requests.

    Raises InvalidFields, or SessionTokenRefused, if one is not to be believed; KeysUnavailable if nobody can tell now.
    """

    def __init__(self, session_tokens: SessionTokens | None) -> None:
        """None: there is nothing to verify session tokens with, and every request that carries one is refused."""
        self._session_tokens = session_tokens

    def sighting(self, request: sync_service_pb2.EnsureUserProfileRequest) -> Sighting:
        """Who was seen, signed in to which organization, and when the token was issued if that is known."""
        user, organization = request.clerk_user_id, request.clerk_org_id
        proof = self._proof_in(request)
        if proof is not None:
            user = _agreed(user, proof.clerk_user_id, "clerk_user_id")
            organization = _agreed(organization, proof.clerk_org_id, "clerk_org_id")
        fields = Fields(clerk_user_id=user, clerk_org_id=organization)
        issued_at_ms = fields.milliseconds(request, _TIME)
        fields.check()
        return Sighting(user, organization, issued_at_ms if proof is None else _agreed_time(issued_at_ms, proof))

    def organization(self, request: sync_service_pb2.EnsureOrganizationRequest) -> tuple[str, int | None]:
        """Which organization somebody was seen signed in to, and when the token was issued if that is known."""
        organization = request.clerk_org_id
        proof = self._proof_in(request)
        if proof is not None:
            organization = _agreed(organization, proof.clerk_org_id, "clerk_org_id")
        fields = Fields(clerk_org_id=organization)
        issued_at_ms = fields.milliseconds(request, _TIME)
        fields.check()
        return organization, issued_at_ms if proof is None else _agreed_time(issued_at_ms, proof)

    def _proof_in(self, request: EnsureRequest) -> SessionProof | None:
        """None if the request carries no token, and the caller is trusted without."""
        token = request.session_token
        if not token:
            if present_caller().must_prove_sessions:
                raise SessionTokenRefused(
                    SessionTokenProblem.MISSING, "is missing; this caller has to pass the end user's with each request"
                )
            return None
        if self._session_tokens is None:
            raise SessionTokenRefused(
                SessionTokenProblem.INVALID,
                "cannot be verified: SyncService has neither CLERK_JWT_KEY nor CLERKSYNC_CLERK_JWKS",
            )
        return self._session_tokens.verify(token)


def _agreed(stated: str, proven: str | None, field: str) -> str:
    """What the token proves, if the request states the same or nothing."""
    if proven is None:
        raise SessionTokenRefused(SessionTokenProblem.MISMATCH, "no organization is active in it")
    if stated and stated != proven:
        raise SessionTokenRefused(SessionTokenProblem.MISMATCH, f"{field} differs from what it proves")
    return proven


def _agreed_time(stated_ms: int | None, proof: SessionProof) -> int:
    if stated_ms is not None and stated_ms != proof.issued_at_ms:
        raise SessionTokenRefused(SessionTokenProblem.MISMATCH, f"{_TIME} differs from its iat")
    return proof.issued_at_ms
