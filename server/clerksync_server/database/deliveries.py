"""The ledger of webhook deliveries."""

from collections.abc import Collection, Mapping, Sequence
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
_LOCK_TIMEOUT = "1s"
"""Many times what another batch takes. Whoever holds a row for longer is no batch, and may hold it for very long."""


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
    """What the ledger says of a delivery once it has been dealt with. `body` is kept only in quarantine."""

    outcome: Outcome
    event_type: str | None = None
    event_at: datetime | None = None
    clerk_user_id: str | None = None
    clerk_org_id: str | None = None
    body: bytes | None = None
    quarantine_reason: str | None = None
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What the ledger says of a delivery when it is entered."""

    svix_id: str
    attempted_at: datetime
    received_at: datetime
    body_sha256: bytes
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A row of the ledger."""

    svix_id: str
    attempted_at: datetime
    received_at: datetime
    committed_at: datetime
    body_sha256: bytes
    judgement: Judgement


async def claim_delivery(connection: "Connection", claim: Claim, *, lock_timeout: str | None = None) -> bool:
    """Enters the delivery; returns False if it was entered before. Waits for a transaction that is entering it now."""
    return bool(await connection.fetchval(_SQL["claim_delivery"], *_columns(claim), lock_timeout))


async def claim_deliveries(connection: "Connection", claims: Sequence[Claim]) -> set[str]:
    """Enters them, none of them twice; returns the ids that were not entered before.

    From here on the transaction waits only a moment for what others lock: what waits for long would hold up the rest.
    """
    if len(claims) == 1:
        (claim,) = claims
        return {claim.svix_id} if await claim_delivery(connection, claim, lock_timeout=_LOCK_TIMEOUT) else set()
    columns = [list(column) for column in zip(*map(_columns, claims), strict=True)]
    rows = await connection.fetch(_SQL["claim_deliveries"], *columns, _LOCK_TIMEOUT)
    return {row["svix_id"] for row in rows}


async def unclaim_deliveries(connection: "Connection", svix_ids: Collection[str]) -> None:
    """Takes back what this transaction has entered."""
    await connection.execute(_SQL["unclaim_deliveries"], list(svix_ids))


async def settle_deliveries(connection: "Connection", rules: Mapping[str, Rule]) -> None:
    """Writes the rules that decided about deliveries that this transaction has entered, in the order of joining."""
    outcomes = [OUTCOMES[rule.effect] for rule in rules.values()]
    await connection.execute(_SQL["settle_deliveries"], list(rules), outcomes, list(rules.values()))


async def read_outcomes(connection: "Connection", svix_ids: Collection[str]) -> dict[str, Outcome]:
    rows = await connection.fetch(_SQL["read_outcomes"], list(svix_ids))
    return {row["svix_id"]: Outcome(row["outcome"]) for row in rows}


async def settle_delivery(connection: "Connection", svix_id: str, judgement: Judgement, *, facts_joined: bool) -> None:
    """Writes the judgement of a delivery that this transaction has claimed or locked."""
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


async def count_quarantined(connection: "Connection") -> int:
    return int(await connection.fetchval(_SQL["count_quarantined"]))


def _delivery(row: "asyncpg.Record") -> DeliveryRow:
    values = dict(row)
    outcome, rule = Outcome(values.pop("outcome")), values.pop("rule")
    judgement = {field.name: values.pop(field.name) for field in fields(Judgement) if field.name in values}
    return DeliveryRow(
        **values, judgement=Judgement(**judgement, outcome=outcome, rule=None if rule is None else Rule(rule))
    )


def _columns(claim: Claim) -> tuple[object, ...]:
    judgement = claim.judgement
    return (
        claim.svix_id,
        claim.attempted_at,
        claim.received_at,
        claim.body_sha256,
        judgement.event_type,
        judgement.event_at,
        judgement.clerk_user_id,
        judgement.clerk_org_id,
        judgement.outcome,
        judgement.body,
        judgement.quarantine_reason,
        judgement.rule,
    )
