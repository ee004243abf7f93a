"""What Postgres says, and what becomes of the delivery: kept in quarantine, or left with the sender."""

import asyncpg
import bodies
import pytest
from stack import Stack, now_ms

from clerksync_server.database.connection import Database
from clerksync_server.database.monitor import DatabaseMonitor
from clerksync_server.ops.lifecycle import Lifecycle

TRIGGER = """
create function public.on_organization() returns trigger language plpgsql as $$ begin {body} return new; end $$;
create trigger on_organization before insert on public.organization
for each row execute function public.on_organization();
"""


@pytest.mark.parametrize(
    "body",
    [
        "raise 'no';",
        "raise 'no' using errcode = 'ZZ001';",
        "perform 1 / 0;",
        "perform no_such_function();",
        "perform 1 from no_such_table;",
    ],
)
async def test_triggers_of_the_application(
    stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]", body: str
) -> None:
    """What a trigger refuses, however it does, would be refused for ever: it is kept in quarantine."""
    await connection.execute(TRIGGER.format(body=body))

    answer = await stack.post(bodies.organization("created", "org_1", at=now_ms()))

    assert (answer.status, answer.outcome) == (202, "quarantined")


async def test_a_value_too_large_for_an_index(stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """So is a name that an index of the application cannot hold."""
    await connection.execute("create index on public.organization (name)")
    name = "".join(chr(0x4E00 + number) for number in range(9000))

    answer = await stack.post(bodies.organization("created", "org_1", at=now_ms(), name=name))

    assert (answer.status, answer.outcome) == (202, "quarantined")


async def test_a_schema_that_is_gone(stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """While our own tables are missing the sender keeps the delivery."""
    await connection.execute("alter schema clerksync rename to elsewhere")
    refused = await stack.post(bodies.organization("created", "org_1", at=now_ms()), svix_id="msg_1")
    await connection.execute("alter schema elsewhere rename to clerksync")
    taken = await stack.post(bodies.organization("created", "org_1", at=now_ms()), svix_id="msg_1")

    assert (refused.status, taken.status) == (503, 200)


async def test_the_watch_survives_anything(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody thought of makes the service not ready, and the next check finds it well again."""
    lifecycle = Lifecycle()
    changes: list[bool] = []

    def note() -> None:
        changes.append(lifecycle.ready)

    database = Database(database_url, pool_size=1)
    await database.open()
    monitor = DatabaseMonitor(database, lifecycle, note)
    await monitor.check()
    with monkeypatch.context() as broken:
        broken.setattr(asyncpg.pool.Pool, "acquire", lambda *_, **__: 1 / 0)
        await monitor.check()
    await monitor.check()
    await database.close()

    assert changes == [True, False, True]
