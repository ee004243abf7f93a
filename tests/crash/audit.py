"""Looks into the tables, while everything goes on and at the end: is what was promised there, and nothing else?"""

import asyncio
from typing import Any

import asyncpg
from crash.history import Delivery, Expectation, Rows
from crash.sender import Asker, Sender

# The last one is what asyncpg says when the server dies between preparing a statement and running it.
_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_CAME_BACK = """
select clerk_user_id, clerk_org_id from public.user_profile
where clerk_user_id = any($1::text []) or clerk_org_id = any($2::text [])
    or (clerk_user_id, clerk_org_id) in (select * from unnest($3::text [], $4::text []))
"""


class Watch:
    """Looks again and again for what must never be seen: an answer without its entry, or somebody who came back."""

    def __init__(self, dsn: str, sender: Sender, expectation: Expectation) -> None:
        self._dsn = dsn
        self._sender = sender
        self._expectation = expectation
        self._seen: set[str] = set()
        self.looks = 0
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=3, command_timeout=5)
            except _LOST:
                await asyncio.sleep(0.1)
                continue
            try:
                while True:
                    await self._look(connection)
                    await asyncio.sleep(0.2)
            except _LOST:
                continue
            finally:
                connection.terminate()

    async def _look(self, connection: Any) -> None:
        acknowledged = set(self._sender.acknowledged)
        ended = self._expectation.gone
        rows = await connection.fetch(
            _CAME_BACK,
            list(ended.users),
            list(ended.orgs),
            [user for user, _ in ended.pairs],
            [org for _, org in ended.pairs],
        )
        self.wrong += [f"came back: {tuple(row)}" for row in rows]
        new = acknowledged - self._seen
        found = await connection.fetch(
            "select svix_id from clerksync.webhook_delivery where svix_id = any($1::text [])", list(new)
        )
        self.wrong += [f"acknowledged, but not in the ledger: {svix_id}" for svix_id in new - {row[0] for row in found}]
        self._seen |= new
        self.looks += 1


async def wrong_ends(dsn: str, deliveries: list[Delivery], expectation: Expectation, asker: Asker | None) -> list[str]:
    """Where the tables and the ledger differ from what they must be, when everything has been acknowledged."""
    connection = await asyncpg.connect(dsn)
    try:
        wrong = await _wrong_entries(connection, deliveries)
        guests = asker.asked if asker is not None else set()
        profiles = await _rows(
            connection,
            "select clerk_user_id, clerk_org_id, clerk_membership_id, membership_updated_at, role "
            'from public.user_profile order by clerk_user_id collate "C", clerk_org_id collate "C"',
        )
        present = {(row[0], row[1]) for row in profiles}
        if asker is not None:
            wrong += [f"promised, but not there: {pair}" for pair in asker.promised - present]
        members = [row for row in profiles if (row[0], row[1]) not in guests]
        wrong += _differences("profile", expectation.profiles(), members)
        wrong += _differences(
            "organization",
            expectation.organizations(),
            await _rows(
                connection,
                "select clerk_org_id, name, slug, clerk_updated_at, clerk_event_at from public.organization",
            ),
        )
        wrong += _differences(
            "tombstone",
            expectation.tombstones(),
            await _rows(
                connection,
                "select clerk_user_id, clerk_org_id, through_created_at, through_membership_id, removed_at "
                "from clerksync.membership_tombstone",
            ),
        )
        wrong += _differences(
            "deletion",
            expectation.deleted(),
            await _rows(connection, "select kind, clerk_id, deleted_at from clerksync.deleted_entity"),
        )
        return wrong
    finally:
        await connection.close()


async def _wrong_entries(connection: Any, deliveries: list[Delivery]) -> list[str]:
    rows = await connection.fetch("select svix_id, outcome, times_applied from clerksync.webhook_delivery")
    entries = {row["svix_id"]: (row["outcome"], row["times_applied"]) for row in rows}
    wrong = [
        f"in the ledger, but never sent: {svix_id}" for svix_id in entries.keys() - {it.svix_id for it in deliveries}
    ]
    for delivery in deliveries:
        if delivery.svix_id not in entries:
            wrong.append(f"not in the ledger: {delivery.svix_id}")
            continue
        outcome, applied = entries[delivery.svix_id]
        expected = ("applied", "stale") if delivery.outcome is None else (delivery.outcome,)
        if outcome not in expected or applied != (1 if delivery.outcome is None else 0):
            wrong.append(f"{delivery.svix_id} is {outcome}, applied {applied} times; expected {expected}")
    return wrong


async def _rows(connection: Any, query: str) -> Rows:
    return [tuple(record) for record in await connection.fetch(query)]


def _differences(what: str, expected: Rows, actual: Rows) -> list[str]:
    missing, excess = set(expected) - set(actual), set(actual) - set(expected)
    wrong = [f"{what} missing: {row}" for row in sorted(missing, key=str)]
    wrong += [f"{what} too much: {row}" for row in sorted(excess, key=str)]
    if len(actual) != len(set(actual)):
        wrong.append(f"{what} twice")
    return wrong
