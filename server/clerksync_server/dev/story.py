"""A short story that `clerksync dev` plays through the real front, and prints with its answers and rows."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

from clerksync.v1 import sync_service_pb2
from clerksync_server.database.sql import load_queries
from clerksync_server.dev.sample_events import sample_event
from clerksync_server.dev.sender import post_event
from clerksync_server.webhook_front.client import sync_service

_SQL = load_queries("story.sql")
_CALL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of the story."""

    what_happens: str
    svix_id: str
    event: dict[str, Any]


class Story:
    """An organization is made, two people join, one of them leaves. New ids at every play, so it always ends alike."""

    def __init__(self) -> None:
        self._unique = secrets.token_hex(4)
        # A minute ago, and a second for each event: Clerk's clock, not the order of arrival, tells what came first.
        self._begin_ms = time.time_ns() // 1_000_000 - 60_000
        self.clerk_org_id = f"org_story{self._unique}"
        self.ada = f"user_ada{self._unique}"
        self.bob = f"user_bob{self._unique}"
        self.eve = f"user_eve{self._unique}"

    def deliveries(self) -> Iterator[Delivery]:
        ada_joins = self._membership("created", self.ada, "org:member", joined=1, at=1)
        yield self._delivery("Acme Inc is made", 0, self._organization(at=0))
        yield self._delivery("Ada joins", 1, ada_joins)
        yield self._delivery("  … the same delivery again", 1, ada_joins)
        ada_changes = self._membership("updated", self.ada, "org:admin", joined=1, at=2)
        yield self._delivery("Ada becomes an admin", 2, ada_changes)
        bob_changes = self._membership("updated", self.bob, "org:billing", joined=3, at=4)
        yield self._delivery("Bob gets the role billing (arrives first)", 4, bob_changes)
        bob_joins = self._membership("created", self.bob, "org:member", joined=3, at=3)
        yield self._delivery("  … Bob joins (arrives late)", 3, bob_joins)
        bob_leaves = self._membership("deleted", self.bob, "org:billing", joined=3, at=5)
        yield self._delivery("Bob leaves", 5, bob_leaves)

    def time_ms(self, step: int) -> int:
        """When a step of the story happened."""
        return self._begin_ms + step * 1000

    def _delivery(self, what_happens: str, step: int, event: dict[str, Any]) -> Delivery:
        return Delivery(what_happens, f"msg_story{self._unique}{step}", event)

    def _organization(self, *, at: int) -> dict[str, Any]:
        changes = {
            "timestamp": self.time_ms(at) + 4,
            "data.id": self.clerk_org_id,
            "data.created_at": self.time_ms(at),
            "data.updated_at": self.time_ms(at),
        }
        return sample_event("organization.created", changes)

    def _membership(self, verb: str, clerk_user_id: str, role: str, *, joined: int, at: int) -> dict[str, Any]:
        changed_ms = self.time_ms(joined if verb == "deleted" else at)  # A deletion does not move updated_at.
        changes = {
            "timestamp": self.time_ms(at) + 16,
            "data.id": f"orgmem_{clerk_user_id[5:]}",
            "data.role": role,
            "data.created_at": self.time_ms(joined),
            "data.updated_at": changed_ms,
            "data.organization.id": self.clerk_org_id,
            "data.organization.created_at": self.time_ms(0),
            "data.organization.updated_at": self.time_ms(0),
            "data.public_user_data.user_id": clerk_user_id,
        }
        return sample_event(f"organizationMembership.{verb}", changes)


async def play(
    story: Story, *, url: str, secret: str, channel: Callable[[], grpc.aio.Channel], dsn: str, console: Console
) -> None:
    """Posts the deliveries, makes three Ensure calls by the channel, and prints what comes of them."""
    table = Table(
        title="Deliveries: signed, posted to the front, over gRPC into Postgres", title_justify="left", box=None
    )
    for column in ("what happened in Clerk", "event", "HTTP", "answer"):
        table.add_column(column)
    for delivery in story.deliveries():
        body = json.dumps(delivery.event).encode()
        status, answer = await post_event(url, secret, delivery.svix_id, body)
        table.add_row(delivery.what_happens, delivery.event["type"], str(status), answer)
    console.print(table)
    console.print()
    console.print(await _ensure_calls(story, channel()))
    console.print()
    for rows in await _rows(story, dsn):
        console.print(rows)
        console.print()


async def _ensure_calls(story: Story, opened: grpc.aio.Channel) -> Table:
    table = Table(
        title="EnsureUserProfile: the second way, when a webhook is late or lost", title_justify="left", box=None
    )
    for column in ("what a sibling service asks", "answer"):
        table.add_column(column)
    calls = (
        ("Ada, known already", story.ada, None),
        ("Eve, whose webhook was lost", story.eve, time.time_ns() // 1_000_000),
        ("Bob, with a token from before he left", story.bob, story.time_ms(4)),
    )
    async with opened as channel:
        for what, clerk_user_id, issued_at_ms in calls:
            table.add_row(what, await _ensure(channel, clerk_user_id, story.clerk_org_id, issued_at_ms))
    return table


async def _ensure(channel: grpc.aio.Channel, clerk_user_id: str, clerk_org_id: str, issued_at_ms: int | None) -> str:
    request = sync_service_pb2.EnsureUserProfileRequest(clerk_user_id=clerk_user_id, clerk_org_id=clerk_org_id)
    if issued_at_ms is not None:
        request.token_issued_at.CopyFrom(Timestamp(seconds=issued_at_ms // 1000))
    try:
        response = await sync_service(channel).EnsureUserProfile(request, timeout=_CALL_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return sync_service_pb2.EnsureOutcome.Name(response.outcome).removeprefix("ENSURE_OUTCOME_")


async def _rows(story: Story, dsn: str) -> list[Table]:
    connection = await asyncio.wait_for(asyncpg.connect(dsn, statement_cache_size=0), timeout=_CALL_TIMEOUT_S)
    tables = []
    try:
        for name in ("organization", "user_profile", "membership_tombstone"):
            records = await connection.fetch(_SQL[f"read_{name}"], story.clerk_org_id)
            table = Table(
                title=f"{name}: {len(records)} row{'' if len(records) == 1 else 's'}", title_justify="left", box=None
            )
            for column in records[0].keys() if records else ():
                table.add_column(column)
            for record in records:
                table.add_row(*("∅" if value is None else str(value) for value in record.values()))
            tables.append(table)
    finally:
        await connection.close()
    return tables
