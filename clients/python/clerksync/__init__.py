"""Keeps a sibling service's users and organizations in step with clerksync.

    client = clerksync.SyncClient("dns:///clerksync:50051")
    ensured = await client.ensure_user_profile("user_1", "org_1", claims["iat"])

`clerksync.blocking` has the same for code without asyncio, `clerksync.middleware` does it on each request of a web
framework, `clerksync.testing` stands in for SyncService in tests, and `clerksync.observability` shows what is counted.
`clerksync.v1` is the generated gRPC contract. None of it needs the server's dependencies.
"""

import os as _os

# gRPC's handlers of forks crash a child of a process with an open stream now and then, even one that only computes
# something, as those of multiprocessing do. Whoever needs them for other channels sets the variable to 1.
_os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from clerksync.client import SyncClient
from clerksync.credential_files import TlsFiles
from clerksync.errors import (
    CallFailed,
    CircuitOpen,
    ClerksyncError,
    ClientClosed,
    DeadlineExceeded,
    EvidenceTooOld,
    InvalidRequest,
    MembershipRemoved,
    OrganizationDeleted,
    Refused,
    SessionTokenRefused,
    Unavailable,
    UserDeleted,
)
from clerksync.identity import Identity, identity_from_claims
from clerksync.options import ClientOptions
from clerksync.resources import EnsuredOrganization, EnsuredUserProfile, Organization, UserProfile
from clerksync.stats import ClientStats

__all__ = [
    "CallFailed",
    "CircuitOpen",
    "ClerksyncError",
    "ClientClosed",
    "ClientOptions",
    "ClientStats",
    "DeadlineExceeded",
    "EnsuredOrganization",
    "EnsuredUserProfile",
    "EvidenceTooOld",
    "Identity",
    "InvalidRequest",
    "MembershipRemoved",
    "Organization",
    "OrganizationDeleted",
    "Refused",
    "SessionTokenRefused",
    "SyncClient",
    "TlsFiles",
    "Unavailable",
    "UserDeleted",
    "UserProfile",
    "identity_from_claims",
]
