"""Every method, and every kind of caller."""

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import pytest
from access.conftest import TOKENS
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from stack import Stack, error_info
from transports import TRANSPORTS

from clerksync.v1 import delivery_service_pb2, sync_service_pb2
from clerksync_server.access.authorizer import everyone
from clerksync_server.access.policy import ROLES
from clerksync_server.grpc_api import server as server_module
from clerksync_server.grpc_api.server import GrpcServer

EVERYBODY = "everybody"
WHO_MAY: Mapping[str, str] = {
    "clerksync.v1.SyncService/EnsureUserProfile": "sibling",
    "clerksync.v1.SyncService/BatchEnsureUserProfiles": "sibling",
    "clerksync.v1.SyncService/EnsureOrganization": "sibling",
    "clerksync.v1.SyncService/WatchRemovals": "sibling",
    "clerksync.v1.SyncService/ApplyClerkEvent": "front",
    "clerksync.v1.SyncService/ApplyClerkEvents": "front",
    "clerksync.v1.SyncService/ExplainUserProfile": "operator",
    "clerksync.v1.DeliveryService/ListDeliveries": "operator",
    "clerksync.v1.DeliveryService/GetDelivery": "operator",
    "clerksync.v1.DeliveryService/RedriveDelivery": "operator",
    "grpc.health.v1.Health/Check": EVERYBODY,
    "grpc.health.v1.Health/Watch": EVERYBODY,
    "grpc.health.v1.Health/List": EVERYBODY,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "operator",
}
MISSING, WRONG, DENIED = (
    ("UNAUTHENTICATED", "CREDENTIALS_MISSING"),
    ("UNAUTHENTICATED", "CREDENTIALS_INVALID"),
    ("PERMISSION_DENIED", "METHOD_NOT_ALLOWED"),
)
REFUSALS: Mapping[str, tuple[str, str]] = {
    "nobody": MISSING,
    "a wrong token": WRONG,
    "no token": WRONG,
    "another scheme": WRONG,
    "two tokens": WRONG,
    "a stranger": DENIED,
}
METADATA: Mapping[str, tuple[tuple[str, str], ...]] = {
    "nobody": (),
    "a wrong token": (("authorization", "Bearer token-of-nobody"),),
    "no token": (("authorization", "Bearer "),),
    "another scheme": (("authorization", f"Basic {TOKENS['operator']}"),),
    "two tokens": tuple(("authorization", f"Bearer {TOKENS[role]}") for role in ("operator", "sibling")),
    "a stranger": (("authorization", f"Bearer {TOKENS['stranger']}"),),
    **{role: (("authorization", f"bearer {TOKENS[role]}"),) for role in ROLES},
}
ASKED = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()


def described() -> dict[str, MethodDescriptor]:
    """Every method of every service that there is."""
    files = (sync_service_pb2, delivery_service_pb2, health_pb2, reflection_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    return {f"{service.full_name}/{method.name}": method for service in services for method in service.methods}


async def call(channel: grpc.aio.Channel, name: str, caller: str) -> tuple[str, str]:
    """The code and the reason that a call ends with, with a message of no fields; or that it was let in."""
    method = described()[name]
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    stub: Any = getattr(channel, kind)(f"/{name}")
    request: Any = iter([ASKED]) if method.client_streaming else b""
    made = stub(request, metadata=METADATA[caller], timeout=10)
    try:
        if method.server_streaming:
            assert await made.read() is not grpc.aio.EOF
            made.cancel()
        else:
            await made
    except grpc.aio.AioRpcError as error:
        # INVALID_ARGUMENT is what a method of ours says to no fields.
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            return error.code().name, error_info(error).reason
    return "let in", ""


def test_every_method_has_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server registers stands in the table above, and what is not for everybody in the role that it names."""
    registered: set[str] = set()

    class Recorder:
        def add_generic_rpc_handlers(self, handlers: object) -> None:
            pass

        def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
            registered.update(f"{service}/{name}" for name in handlers)

    monkeypatch.setattr(server_module, "make_server", lambda _: Recorder())
    unused: Any = _Servicer()
    GrpcServer(unused, unused, access=everyone())

    assert registered == set(WHO_MAY) == set(described())
    assert {name: role for name, role in WHO_MAY.items() if role != EVERYBODY} == {
        name: role for role, names in ROLES.items() for name in names
    }


class _Servicer:
    """Has every method, and does nothing."""

    def __getattr__(self, name: str) -> object:
        return lambda request, context: None


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_kind_of_caller(guarded: Stack) -> None:
    """Each method lets in those whose role it has and nobody else; who is turned away is told by code and reason."""
    seen, expected = {}, {}
    for name, role in WHO_MAY.items():
        for caller in METADATA:
            seen[name, caller] = await call(guarded.channel, name, caller)
            refusal = REFUSALS.get(caller, DENIED)
            expected[name, caller] = ("let in", "") if role in (caller, EVERYBODY) else refusal

    assert len(seen) == len(WHO_MAY) * 9
    assert {case: told for case, told in seen.items() if told != expected[case]} == {}


async def test_calls_at_the_same_time_are_told_apart(guarded: Stack) -> None:
    """Who one call comes from says nothing about another that is answered at the same time."""
    name = "clerksync.v1.SyncService/EnsureUserProfile"
    callers = ["sibling", "front", "nobody", "operator"] * 25

    told = await asyncio.gather(*(call(guarded.channel, name, caller) for caller in callers))

    assert [answer[0] == "let in" for answer in told] == [caller == "sibling" for caller in callers]
