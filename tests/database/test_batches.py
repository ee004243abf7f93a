"""Deliveries that are applied together: one transaction, and none fails or holds up the others."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import bodies
import pytest
from stack import now_ms
from structlog.testing import capture_logs

from clerksync_server.clock import timestamp_of
from clerksync_server.database.connection import Database
from clerksync_server.errors import DatabaseUnavailable
from clerksync_server.sync import delivery_batches
from clerksync_server.sync.deliveries import Applied, Deliveries, Delivery

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

USERS = [f"user_{number}" for number in range(20)]
ORG = "org_1"
REFUSE_ONE = """
create function public.refuse() returns trigger language plpgsql as $$
begin
    if new.clerk_user_id = 'user_7' then raise 'no'; end if;
    return new;
end $$;
create trigger refuse before insert on public.user_profile for each row execute function public.refuse();
"""
SLOW_FOR_ONE = """
create function public.slow() returns trigger language plpgsql as $$
begin
    if new.clerk_user_id = 'user_7' then perform pg_sleep(3); end if;
    return new;
end $$;
create trigger slow before insert on public.user_profile for each row execute function public.slow();
"""
LEAVE_OUT = """
create function public.leave_out() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger leave_out before insert on public.organization for each row execute function public.leave_out();
"""


@pytest.fixture
async def deliveries(database_url: str) -> AsyncIterator[Deliveries]:
    database = Database(database_url, pool_size=4)
    await database.open()
    yield Deliveries(database)
    await database.close()


async def apply(deliveries: Deliveries, told: Sequence[tuple[str, bodies.Body]]) -> list[Applied]:
    """At once. They are one batch: what is asked before a batch has had its turn travels along."""
    now = timestamp_of(now_ms())
    raw = [(svix_id, json.dumps(body).encode()) for svix_id, body in told]
    return await asyncio.gather(*(deliveries.apply(Delivery(svix_id, now, body)) for svix_id, body in raw))


def joined(*, at: int, org: str = ORG, users: Sequence[str] = USERS) -> list[tuple[str, bodies.Body]]:
    return [
        (f"msg_{user}_{org}", bodies.membership("created", user, org, at=at, joined_at=at, nested=named(org, at)))
        for user in users
    ]


def named(org: str, at: int) -> bodies.Body:
    return bodies.snapshot(org, updated_at=at)


def outcomes(answers: Sequence[Applied]) -> list[str]:
    return [answer.outcome.value for answer in answers]


async def transactions(connection: "Connection") -> int:
    """How many have written to the ledger."""
    return int(await connection.fetchval("select count(distinct xmin::text) from clerksync.webhook_delivery"))


async def members(connection: "Connection") -> list[str]:
    return [row[0] for row in await connection.fetch("select clerk_user_id from public.user_profile order by 1")]


async def test_one_transaction(deliveries: Deliveries, connection: "Connection") -> None:
    """What comes at the same time is applied by one transaction."""
    answers = await apply(deliveries, joined(at=now_ms()))

    assert ["applied"] * 20 == outcomes(answers)
    assert sorted(USERS) == await members(connection)
    assert await transactions(connection) == 1


async def test_one_that_is_refused(deliveries: Deliveries, connection: "Connection") -> None:
    """One row that a trigger refuses puts its delivery into quarantine, and the other nineteen go through."""
    await connection.execute(REFUSE_ONE)

    answers = await apply(deliveries, joined(at=now_ms()))

    assert ["quarantined" if user == "user_7" else "applied" for user in USERS] == outcomes(answers)
    assert sorted(set(USERS) - {"user_7"}) == await members(connection)
    (kept,) = await connection.fetch("select svix_id, rule from clerksync.webhook_delivery where body is not null")
    assert tuple(kept) == (f"msg_user_7_{ORG}", "refused_by_database")


async def test_one_that_takes_long(deliveries: Deliveries, connection: "Connection") -> None:
    """A row over which a trigger takes long holds up its batch mates for no longer than a batch may take."""
    await connection.execute(SLOW_FOR_ONE)
    async with asyncio.timeout(20):
        answers = await apply(deliveries, joined(at=now_ms()))

    assert ["applied"] * 20 == outcomes(answers)
    assert sorted(USERS) == await members(connection)


async def test_one_that_cannot_be_read(deliveries: Deliveries, connection: "Connection") -> None:
    """What is not understood, and what is not ours, is entered with the others, by the same transaction."""
    t = now_ms()
    told = [("msg_bad", bodies.envelope("user.created", {"id": None}, t)), ("msg_other", {"type": "x", "data": {}})]

    answers = await apply(deliveries, [*joined(at=t), *told])

    assert ["applied"] * 20 + ["quarantined", "ignored"] == outcomes(answers)
    assert await transactions(connection) == 1


async def test_the_same_delivery_twice(deliveries: Deliveries, connection: "Connection") -> None:
    """Of a delivery that is in a batch twice, or was there before, one is applied and the rest are duplicates."""
    told = joined(at=now_ms())

    first = await apply(deliveries, [*told, *told[:5]])
    again = await apply(deliveries, told)

    assert ["applied"] * 20 + ["duplicate"] * 5 == outcomes(first)
    assert ["duplicate"] * 20 == outcomes(again)
    assert [1] == [
        row[0] for row in await connection.fetch("select distinct times_applied from clerksync.webhook_delivery")
    ]


async def test_a_repeat_of_what_was_quarantined(deliveries: Deliveries, connection: "Connection") -> None:
    """A delivery that was refused is applied when it comes again in a batch and nothing refuses it any more."""
    await connection.execute(REFUSE_ONE)
    told = joined(at=now_ms())
    await apply(deliveries, told)
    await connection.execute("drop trigger refuse on public.user_profile")

    answers = await apply(deliveries, told)

    assert ["applied" if user == "user_7" else "duplicate" for user in USERS] == outcomes(answers)
    assert sorted(USERS) == await members(connection)


async def test_one_notification(deliveries: Deliveries, connection: "Connection") -> None:
    """A batch tells those who follow removals once, however many went away, and not if nobody did."""
    heard: list[Any] = []
    await connection.add_listener("clerksync_removals", lambda *told: heard.append(told))
    t = now_ms() - 1000
    await apply(deliveries, joined(at=t))
    await connection.execute("select 1")
    before = len(heard)

    ends: list[tuple[str, bodies.Body]] = [
        (f"msg_{user}_left", bodies.membership("deleted", user, ORG, at=t + 1, joined_at=t)) for user in USERS[:10]
    ]
    ends += [(f"msg_{user}_deleted", bodies.user("deleted", user, at=t + 1)) for user in USERS[10:19]]
    answers = await apply(deliveries, ends)
    await connection.execute("select 1")

    assert ["applied"] * 19 == outcomes(answers)
    assert await members(connection) == [USERS[19]]
    assert (before, len(heard)) == (0, 1)
    assert await connection.fetchval("select count(*) from clerksync.removal") == 19


async def test_what_others_lock(deliveries: Deliveries, connection: "Connection") -> None:
    """A delivery about an organization that somebody locks waits for itself; the others do not wait for it."""
    t = now_ms()
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtextextended('clerksync:1:organization:org_2', 0))")
        waiting = asyncio.create_task(apply(deliveries, joined(at=t, org="org_2", users=USERS[:2])))
        await asyncio.sleep(0.1)
        others = await asyncio.wait_for(apply(deliveries, joined(at=t)), 2)
        assert not waiting.done()

    assert ["applied"] * 22 == outcomes([*others, *await waiting])


async def test_an_organization_that_the_application_locks(deliveries: Deliveries, connection: "Connection") -> None:
    """Nor for an application that holds the row of an organization for long."""
    t = now_ms()
    await apply(deliveries, [("msg_1", bodies.organization("created", "org_2", at=t))])
    async with connection.transaction():
        await connection.execute("select from public.organization where clerk_org_id = 'org_2' for update")
        told = [*joined(at=t + 1), *joined(at=t + 1, org="org_2", users=USERS[:2])]
        applying = asyncio.create_task(apply(deliveries, told))
        async with asyncio.timeout(5):
            while len(await members_seen(deliveries)) < 20:
                await asyncio.sleep(0.05)
        assert not applying.done()

    assert ["applied"] * 22 == outcomes(await applying)


async def members_seen(deliveries: Deliveries) -> list[str]:
    async with deliveries._database.connection() as connection:
        return [row[0] for row in await connection.fetch("select clerk_user_id from public.user_profile")]


async def test_an_organization_that_turns_up_meanwhile(deliveries: Deliveries, connection: "Connection") -> None:
    """What another transaction makes of an organization between the batch's look and its write is not overwritten."""
    t = now_ms()
    async with connection.transaction():
        await connection.execute(
            "insert into public.organization (clerk_org_id, name, clerk_updated_at, clerk_event_at) "
            "values ($1, 'Newer', $2, $2)",
            ORG,
            timestamp_of(t + 10),
        )
        told = [*joined(at=t), ("msg_org", bodies.organization("updated", ORG, at=t, name="Older"))]
        applying = asyncio.create_task(apply(deliveries, told))
        await asyncio.sleep(0.2)
        assert not applying.done()

    assert ["applied"] * 20 + ["stale"] == outcomes(await applying)
    assert await connection.fetchval("select name from public.organization") == "Newer"
    assert await transactions(connection) == 1


async def test_rows_that_a_trigger_leaves_out(deliveries: Deliveries, connection: "Connection") -> None:
    """A trigger that silently leaves rows out has the same effect on many deliveries as on one."""
    await connection.execute(LEAVE_OUT)
    t = now_ms()

    organizations = await apply(
        deliveries, [(f"msg_{org}", bodies.organization("created", org, at=t)) for org in ("org_1", "org_2")]
    )
    memberships = await apply(deliveries, joined(at=t)[:2])

    assert ["stale"] * 2 + ["quarantined"] * 2 == outcomes([*organizations, *memberships])


async def test_who_leaves_and_joins_again_in_one_batch(deliveries: Deliveries, connection: "Connection") -> None:
    """Who ended and began anew within a batch has a new profile, and those who keep answers are told."""
    t = now_ms() - 1000
    await apply(deliveries, joined(at=t))
    before = {row[0] for row in await connection.fetch("select id from public.user_profile")}

    told: list[tuple[str, bodies.Body]] = []
    for user in USERS:
        told.append((f"msg_{user}_left", bodies.membership("deleted", user, ORG, at=t + 1, joined_at=t)))
        told.append((f"msg_{user}_back", bodies.membership("created", user, ORG, at=t + 2, joined_at=t + 2)))
    answers = await apply(deliveries, told)

    assert ["applied"] * 40 == outcomes(answers)
    assert before.isdisjoint({row[0] for row in await connection.fetch("select id from public.user_profile")})
    assert len(await members(connection)) == await connection.fetchval("select count(*) from clerksync.removal") == 20


async def test_rows_keep_their_ids(deliveries: Deliveries, connection: "Connection") -> None:
    """A profile or an organization that a batch changes is the same row, and tells when it was changed."""
    t = now_ms() - 1000
    await apply(deliveries, joined(at=t))
    state = "select id, created_at, clerk_user_id from public.user_profile order by 3"
    before = await connection.fetch(state)
    changed = [
        (f"msg_{user}_2", bodies.membership("updated", user, ORG, at=t + 1, joined_at=t, nested=named(ORG, t + 1)))
        for user in USERS
    ]
    await apply(deliveries, changed)

    assert before == await connection.fetch(state)
    for table in ("organization", "user_profile"):
        assert await connection.fetchval(f"select bool_and(updated_at > created_at) from public.{table}")


async def test_evidence_of_the_same_millisecond(deliveries: Deliveries, connection: "Connection") -> None:
    """A provisional profile whose evidence is later than a removal by less than a millisecond stays, in a batch too."""
    t = now_ms() - 1000
    await connection.execute("insert into public.organization (clerk_org_id, name) values ($1, 'One')", ORG)
    await connection.executemany(
        "insert into public.user_profile (clerk_user_id, clerk_org_id, evidence_at) values ($1, $2, $3)",
        [(USERS[0], ORG, timestamp_of(t)), (USERS[1], ORG, timestamp_of(t) + timedelta(microseconds=1))],
    )
    ends: list[tuple[str, bodies.Body]] = [
        (f"msg_{user}_left", bodies.membership("deleted", user, ORG, at=t, joined_at=t - 1)) for user in USERS[:2]
    ]

    await apply(deliveries, ends)

    assert await members(connection) == [USERS[1]]


async def test_the_same_delivery_at_two_replicas(database_url: str, connection: "Connection") -> None:
    """Deliveries that two replicas are given at once are applied once, and neither waits until a lock times out."""
    t = now_ms()
    told = [(f"msg_{n}", bodies.organization("created", f"org_{n % 10}", at=t)) for n in range(100)] + joined(at=t)
    databases = [Database(database_url, pool_size=4) for _ in range(2)]
    for database in databases:
        await database.open()
    try:
        async with asyncio.timeout(5):
            answers = await asyncio.gather(
                apply(Deliveries(databases[0]), told), apply(Deliveries(databases[1]), [*reversed(told)])
            )
    finally:
        for database in databases:
            await database.close()

    pairs = [{one, other} for one, other in zip(outcomes(answers[0]), reversed(outcomes(answers[1])), strict=True)]
    assert all("duplicate" in pair and len(pair) == 2 for pair in pairs)
    assert await connection.fetchval("select sum(times_applied) from clerksync.webhook_delivery") == len(told)


async def test_a_defect_in_a_batch(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw fails no delivery, and is told as a defect, with its place and without its text."""

    async def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(delivery_batches, "join_facts", broken)

    with capture_logs() as logs:
        answers = await apply(deliveries, joined(at=now_ms()))

    assert ["applied"] * 20 == outcomes(answers)
    assert {"KeyError"} == {line["error"] for line in logs if line["event"] == "defect"}
    assert "secret" not in str(logs)


async def test_no_database(deliveries: Deliveries) -> None:
    """While there is no database all of a batch stays with the senders."""
    await deliveries._database.close()
    now = timestamp_of(now_ms())

    answers = await asyncio.gather(
        *(deliveries.apply(Delivery(f"msg_{number}", now, b"{}")) for number in range(3)), return_exceptions=True
    )

    assert [DatabaseUnavailable] * 3 == list(map(type, answers))
