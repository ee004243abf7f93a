"""The ledger of webhook deliveries."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from clerksync_server.database.sql import load_queries
from clerksync_server.rules.decisions import Effect, Rule

if TYPE_CHECKING:
    import asyncpg

    from clerksync_server.database.connection import Connection

_SQL = load_queries("deliveries.sql")


class Outcome(StrEnum):
    """What became of a delivery. The values are those of the ledger, of logs, metrics and HTTP answers."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    IGNORED = "ignored"
    QUARANTINED = "quarantined"


OUTCOMES = {Effect.APPLIED: Outcome.APPLIED, Effect.STALE: Outcome.STALE}
"""What a delivery comes to by what it told of its subject."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the ledger says of a delivery once it has been dealt with. `body` is kept only in quarantine.

    It is as the ledger keeps it: encrypted with the key that `body_key` names, or as it was sent if that is None.
    """

    outcome: Outcome
    event_type: str | None = None
    event_at: datetime | None = None
    clerk_user_id: str | None = None
    clerk_org_id: str | None = None
    body: bytes | None = None
    quarantine_reason: str | None = None
    rule: Rule | None = None
    body_key: str | None = None


@dataclass(frozen=True, slots=True)
class KeptBody:
    """A body in quarantine as the ledger keeps it, the name of its key, and the hash of the body as it was sent."""

    svix_id: str
    body: bytes
    key: str | None
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A delivery as it is entered in the ledger."""

    svix_id: str
    attempted_at: datetime
    received_at: datetime
    body_sha256: bytes
    judgement: Judgement
    facts_joined: bool = False
    """Whether the transaction that enters it has joined its facts."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A row of the ledger."""

    svix_id: str
    attempted_at: datetime
    received_at: datetime
    committed_at: datetime
    body_sha256: bytes
    judgement: Judgement


async def enter_deliveries(connection: "Connection", entries: Sequence[Entry]) -> int:
    """Enters them in the order in which they were joined, none of them twice; returns how many were not there before.

    Waits for a transaction that is entering one of them now. Comes last in a transaction, after all locks and rows.
    """
    columns = [list(column) for column in zip(*map(_columns, entries), strict=True)]
    return len(await connection.fetch(_SQL["enter_deliveries"], *columns))


async def read_outcomes(connection: "Connection", svix_ids: Collection[str]) -> dict[str, Outcome]:
    rows = await connection.fetch(_SQL["read_outcomes"], list(svix_ids))
    return {row["svix_id"]: Outcome(row["outcome"]) for row in rows}


async def settle_delivery(connection: "Connection", svix_id: str, judgement: Judgement, *, facts_joined: bool) -> None:
    """Writes the judgement of a delivery that is in the ledger and that this transaction has locked."""
    await connection.execute(
        _SQL["settle_delivery"],
        svix_id,
        judgement.outcome,
        judgement.event_type,
        judgement.event_at,
        judgement.clerk_user_id,
        judgement.clerk_org_id,
        judgement.body,
        judgement.quarantine_reason,
        judgement.rule,
        int(facts_joined),
        judgement.body_key,
    )


async def read_delivery(connection: "Connection", svix_id: str, *, lock: bool = False) -> DeliveryRow | None:
    row = await connection.fetchrow(_SQL["lock_delivery" if lock else "read_delivery"], svix_id)
    return None if row is None else _delivery(row)


async def list_deliveries(
    connection: "Connection", *, outcome: Outcome | None, after: tuple[datetime, str] | None, limit: int
) -> list[DeliveryRow]:
    """The latest received first; `after` is (received_at, svix_id) of the last one seen."""
    received_at, svix_id = after if after is not None else (None, None)
    rows = await connection.fetch(_SQL["list_deliveries"], outcome, received_at, svix_id, limit)
    return [_delivery(row) for row in rows]


async def list_deliveries_of_pair(
    connection: "Connection", clerk_user_id: str, clerk_org_id: str, *, limit: int
) -> list[DeliveryRow]:
    """Those that concern the user in the organization, the user everywhere, or the whole organization."""
    rows = await connection.fetch(_SQL["list_deliveries_of_pair"], clerk_user_id, clerk_org_id, limit)
    return [_delivery(row) for row in rows]


async def read_last_writer(connection: "Connection", clerk_user_id: str, clerk_org_id: str) -> DeliveryRow | None:
    """The delivery that wrote the membership of the pair last, unless it has been pruned."""
    row = await connection.fetchrow(_SQL["read_last_writer"], clerk_user_id, clerk_org_id)
    return None if row is None else _delivery(row)


async def lock_bodies_of_other_keys(connection: "Connection", key: str, *, after: str, limit: int) -> list[KeptBody]:
    """What is in quarantine and was not encrypted with the key, in the order of the ids after `after`."""
    rows = await connection.fetch(_SQL["lock_bodies_of_other_keys"], key, after, limit)
    return [KeptBody(row["svix_id"], row["body"], row["body_key"], row["body_sha256"]) for row in rows]


async def write_body(connection: "Connection", svix_id: str, body: bytes, key: str | None) -> None:
    await connection.execute(_SQL["write_body"], svix_id, body, key)


async def count_quarantined(connection: "Connection") -> int:
    return int(await connection.fetchval(_SQL["count_quarantined"]))


def _delivery(row: "asyncpg.Record") -> DeliveryRow:
    values = dict(row)
    outcome, rule = Outcome(values.pop("outcome")), values.pop("rule")
    judgement = {field.name: values.pop(field.name) for field in fields(Judgement) if field.name in values}
    return DeliveryRow(
        **values, judgement=Judgement(**judgement, outcome=outcome, rule=None if rule is None else Rule(rule))
    )


def _columns(entry: Entry) -> tuple[object, ...]:
    judgement = entry.judgement
    return (
        entry.svix_id,
        entry.attempted_at,
        entry.received_at,
        entry.body_sha256,
        judgement.event_type,
        judgement.event_at,
        judgement.clerk_user_id,
        judgement.clerk_org_id,
        judgement.outcome,
        judgement.body,
        judgement.quarantine_reason,
        judgement.rule,
        int(entry.facts_joined),
        judgement.body_key,
    )
