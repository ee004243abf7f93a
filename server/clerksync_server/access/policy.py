"""Which identity may make which calls."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from clerksync_server.access.callers import ANONYMOUS, Caller
from clerksync_server.access.files import FileRefused
from clerksync_server.access.spiffe import is_spiffe_id

REFLECTION: Final = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_SYNC = "clerksync.v1.SyncService/"
_DELIVERIES = "clerksync.v1.DeliveryService/"
ROLES: Final[Mapping[str, frozenset[str]]] = {
    "front": frozenset({f"{_SYNC}ApplyClerkEvent", f"{_SYNC}ApplyClerkEvents"}),
    "sibling": frozenset(
        {
            f"{_SYNC}EnsureUserProfile",
            f"{_SYNC}BatchEnsureUserProfiles",
            f"{_SYNC}EnsureOrganization",
            f"{_SYNC}WatchRemovals",
        }
    ),
    "operator": frozenset(
        {
            f"{_SYNC}ExplainUserProfile",
            f"{_DELIVERIES}ListDeliveries",
            f"{_DELIVERIES}GetDelivery",
            f"{_DELIVERIES}RedriveDelivery",
            REFLECTION,
        }
    ),
}
"""Every method has a role: one without could be called by nobody."""
_METHODS: Final = frozenset().union(*ROLES.values())
_NAME = r"[\w.-]+"
_IDENTITY = re.compile(
    rf"dns:{_NAME}|token:{_NAME}|kubernetes:{_NAME}/(?:{_NAME}|\*)|{ANONYMOUS}",
    re.ASCII,
)


class _CallerTable(msgspec.Struct, forbid_unknown_fields=True):
    identity: str
    roles: list[str] = []
    methods: list[str] = []
    must_prove_sessions: bool = False
    calls_per_second: int | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    callers: list[_CallerTable]


@dataclass(frozen=True, slots=True)
class Grant:
    """What an identity may."""

    methods: frozenset[str]
    """As `package.Service/Method`."""
    must_prove_sessions: bool = False
    calls_per_second: int | None = None


@dataclass(frozen=True, eq=False)
class Policy:
    """The grants by identity. Those that end in `*` hold for all that begin so, the longest first."""

    exact: Mapping[str, Grant] = field(default_factory=dict)
    beginnings: tuple[tuple[str, Grant], ...] = ()
    known: dict[tuple[tuple[str, ...], str], Caller] = field(default_factory=dict, init=False)
    """Who was let in, by their identities and the method: most calls are like many before. For Access to keep."""

    def of(self, identity: str) -> Grant | None:
        """None for whom the policy does not know."""
        if (grant := self.exact.get(identity)) is not None:
            return grant
        return next((grant for beginning, grant in self.beginnings if identity.startswith(beginning)), None)


NOBODY: Final = Policy()
"""Lets nobody do anything."""


def parse_policy(data: bytes) -> Policy:
    """Reads a policy file, TOML. Raises FileRefused with what is wrong, and where."""
    try:
        file = msgspec.toml.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileRefused(str(error)) from None
    exact: dict[str, Grant] = {}
    beginnings: dict[str, Grant] = {}
    for number, caller in enumerate(file.callers):
        where = f"callers[{number}]"
        if not _is_identity(caller.identity):
            raise FileRefused(
                f"{where}.identity: expected dns:NAME, spiffe://…, token:NAME, kubernetes:NAMESPACE/NAME or anonymous"
            )
        grants, key = (beginnings, caller.identity[:-1]) if caller.identity.endswith("*") else (exact, caller.identity)
        if key in grants:
            raise FileRefused(f"{where}.identity: is there already; give it all of its roles in one place")
        grants[key] = _grant(caller, where)
    return Policy(exact, tuple(sorted(beginnings.items(), key=lambda item: -len(item[0]))))


def _is_identity(text: str) -> bool:
    return _IDENTITY.fullmatch(text) is not None or is_spiffe_id(text.removesuffix("/*"))


def _grant(caller: _CallerTable, where: str) -> Grant:
    _expect(caller.roles, ROLES, f"{where}.roles")
    _expect(caller.methods, _METHODS, f"{where}.methods")
    if not caller.roles and not caller.methods:
        raise FileRefused(f"{where}: expected roles, methods, or both")
    if caller.calls_per_second is not None and not 1 <= caller.calls_per_second <= 1_000_000:
        raise FileRefused(f"{where}.calls_per_second: expected 1 to 1000000")
    return Grant(
        frozenset(caller.methods).union(*(ROLES[role] for role in caller.roles)),
        caller.must_prove_sessions,
        caller.calls_per_second,
    )


def _expect(given: Iterable[str], known: Iterable[Any], where: str) -> None:
    known = sorted(known)
    for name in given:
        if name not in known:
            raise FileRefused(f"{where}: {name!r} is none of {', '.join(known)}")
