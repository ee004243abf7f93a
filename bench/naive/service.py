"""The service of the naive twin: grpc.aio, and a pool of asyncpg."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import asyncpg
import grpc.aio
import msgspec

from bench.servers.serving import serve, start_grpc
from bench.sql import load_queries
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc

_POOL_SIZE = 16
_Q = load_queries(Path(__file__).with_name("queries.sql"))


class Organization(msgspec.Struct):
    """An organization, at the top or nested in a membership."""

    id: str
    name: str = ""
    slug: str | None = None
    image_url: str | None = None
    created_at: int = 0
    updated_at: int = 0


class User(msgspec.Struct):
    """The user of a membership."""

    user_id: str


class Membership(msgspec.Struct):
    """A membership."""

    id: str
    organization: Organization
    public_user_data: User
    role: str | None = None
    created_at: int = 0
    updated_at: int = 0


class Event(msgspec.Struct):
    """What surrounds both."""

    type: str
    data: msgspec.Raw
    timestamp: int


_event = msgspec.json.Decoder(Event)
_membership = msgspec.json.Decoder(Membership)
_organization = msgspec.json.Decoder(Organization)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class Servicer(sync_service_pb2_grpc.SyncServiceServicer):
    """A connection of the pool, and a query or a transaction, for each call."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def EnsureUserProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        pair = request.clerk_user_id, request.clerk_org_id
        if not all(pair):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "clerk_user_id and clerk_org_id are needed")
        row = await self._pool.fetchrow(_Q["read_profile"], *pair)
        outcome = sync_service_pb2.ENSURE_OUTCOME_EXISTED
        if row is None:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_Q["insert_placeholder"], pair[1])
                row = await connection.fetchrow(
                    _Q["insert_profile"], *pair, request.token_issued_at.ToDatetime(tzinfo=UTC)
                )
                outcome = sync_service_pb2.ENSURE_OUTCOME_CREATED
            if row is None:  # Somebody else was quicker.
                row = await self._pool.fetchrow(_Q["read_profile"], *pair)
                outcome = sync_service_pb2.ENSURE_OUTCOME_EXISTED
        assert row is not None
        return sync_service_pb2.EnsureUserProfileResponse(
            user_profile=resources_pb2.UserProfile(
                id=row["id"],
                clerk_user_id=row["clerk_user_id"],
                clerk_org_id=row["clerk_org_id"],
                role=row["role"],
                clerk_membership_id=row["clerk_membership_id"],
                create_time=row["created_at"],
                update_time=row["updated_at"],
            ),
            outcome=outcome,
        )

    async def ApplyClerkEvent(self, request: Any, context: Any) -> Any:  # noqa: N802
        event = _event.decode(request.body)
        about_organization = event.type.startswith("organization.")
        membership = None if about_organization else _membership.decode(event.data)
        organization = _organization.decode(event.data) if membership is None else membership.organization
        user = membership.public_user_data.user_id if membership else None
        event_at = _time(event.timestamp)
        async with self._pool.acquire() as connection, connection.transaction():
            is_new = await connection.fetchval(
                _Q["insert_delivery"],
                request.svix_id,
                event.type,
                event_at,
                request.attempted_at.ToDatetime(tzinfo=UTC),
                user,
                organization.id,
                hashlib.sha256(request.body).digest(),
            )
            if not is_new:
                return _answer(resources_pb2.DELIVERY_OUTCOME_DUPLICATE)
            if membership is not None and event.type.endswith(".deleted"):
                joined_at = _time(membership.created_at)
                await connection.execute(_Q["delete_membership"], user, organization.id, joined_at)
                return _answer(resources_pb2.DELIVERY_OUTCOME_APPLIED)
            await connection.execute(
                _Q["upsert_organization"],
                organization.id,
                organization.name,
                organization.slug,
                organization.image_url,
                _time(organization.created_at),
                _time(organization.updated_at),
                event_at,
            )
            if membership is not None:
                await connection.execute(
                    _Q["upsert_membership"],
                    user,
                    organization.id,
                    membership.id,
                    _time(membership.created_at),
                    _time(membership.updated_at),
                    event_at,
                    membership.role,
                )
        return _answer(resources_pb2.DELIVERY_OUTCOME_APPLIED)


def _answer(outcome: Any) -> sync_service_pb2.ApplyClerkEventResponse:
    return sync_service_pb2.ApplyClerkEventResponse(outcome=outcome)


async def _start() -> int:
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=_POOL_SIZE, max_size=_POOL_SIZE)
    server = grpc.aio.server()
    servicer = cast("Any", Servicer)(pool)  # Abstract, as far as types tell: it lacks what nobody calls.
    sync_service_pb2_grpc.add_SyncServiceServicer_to_server(servicer, server)
    return await start_grpc(server)


if __name__ == "__main__":
    serve(_start)
