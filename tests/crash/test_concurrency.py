"""Hundreds at once on the same few organizations and users, through two SyncServices."""

import asyncio
import random

import asyncpg
from crash.audit import wrong_ends
from crash.history import Chapter, Expectation
from crash.sender import Asker, Sender
from crash.site import Site
from stack import now_ms

SEED = 5
DELIVERIES_AT_ONCE = 200
CALLS_AT_ONCE = 100


async def test_hundreds_at_once(database_url: str) -> None:
    """No deadlock, no serialization error and no timeout reaches a caller, and no update is lost."""
    begin_ms = now_ms() - 3_600_000
    chapter = Chapter(SEED, "busy", begin_ms, orgs=3, users=8, steps=600)
    expectation = Expectation()
    expectation.add(chapter.deliveries)
    choose = random.Random(SEED)
    async with Site(database_url, fronts=1) as site:
        # Whatever is not a success at the first attempt is a surprise here.
        sender = Sender(site, SEED, expectation, refusals=frozenset())
        asker = Asker(site, SEED, begin_ms - 1, transient=frozenset())

        async def ask() -> None:
            for _ in range(6):
                await asker.ask(choose.choice(chapter.pairs), expectation.gone)

        await asyncio.gather(
            sender.send_all(chapter.deliveries, at_once=DELIVERIES_AT_ONCE), *(ask() for _ in range(CALLS_AT_ONCE))
        )

        wrong = [*sender.wrong, *asker.wrong, *await wrong_ends(database_url, chapter.deliveries, expectation, asker)]
    connection = await asyncpg.connect(database_url)
    deadlocks = await connection.fetchval("select deadlocks from pg_stat_database where datname = current_database()")
    await connection.close()
    print(
        f"seed {SEED}: {len(chapter.deliveries)} deliveries {dict(sender.answers)}, Ensure {dict(asker.answers)}, "
        f"{deadlocks} deadlocks inside"
    )
    assert wrong == []
    assert sender.answers.keys() <= {"200", "202"}
