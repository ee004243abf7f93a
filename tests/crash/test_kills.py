"""Every process is killed under load, again and again; nothing acknowledged is lost, and nothing happens twice.

`CRASH_KILLS` says how many kills (default 30; 10 of the transport that is not the chosen one), `CRASH_SEED` where
chance begins (default 7).
"""

import asyncio
import os
import random
from collections import Counter

import pytest
from crash.site import Replica, Site, assert_nothing_left, kill_postgres
from crash.storm import Storm
from transports import TRANSPORTS

from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

KILLS = int(os.environ.get("CRASH_KILLS", "30"))
KILLS_OF_OTHER_TRANSPORTS = int(os.environ.get("CRASH_KILLS", "10"))
SEED = int(os.environ.get("CRASH_SEED", "7"))


class Killer:
    """Kills by chance whatever is up, and starts it again."""

    def __init__(self, site: Site, postgres: EmbeddedPostgres, seed: int) -> None:
        self._site = site
        self._postgres = postgres
        self._random = random.Random(seed)
        self.kills: Counter[str] = Counter()

    async def kill(self, times: int) -> None:
        replicas = [*self._site.services, *self._site.fronts]
        for _ in range(times):
            victim = self._random.choices([None, *replicas], [4, 3, 3, 2, 2])[0]
            if victim is None:
                await self._kill_postgres()
            else:
                await self._kill_replica(victim)
        for replica in replicas:
            await replica.up()

    async def _kill_replica(self, victim: Replica) -> None:
        await victim.up()
        await asyncio.sleep(self._random.uniform(0, 0.4))
        await victim.kill()
        self.kills[victim.name] += 1
        victim.start()

    async def _kill_postgres(self) -> None:
        alone = self._random.random() < 0.5
        await asyncio.sleep(self._random.uniform(0, 0.4))
        await kill_postgres(self._postgres, alone=alone)
        self.kills["Postgres' main process" if alone else "all of Postgres"] += 1
        await asyncio.sleep(self._random.uniform(0, 0.3))
        self._postgres.start()


@pytest.mark.timeout(90 + 4 * KILLS)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_processes_are_killed(fragile_postgres: EmbeddedPostgres, transport: str, chosen_transport: str) -> None:
    """Whatever is killed and whenever, what was answered 2xx is in the tables and the ledger, once, and stays so."""
    kills = KILLS if transport == chosen_transport else KILLS_OF_OTHER_TRANSPORTS
    dsn = fragile_postgres.dsn
    await migrate(dsn)
    async with Site(dsn) as site:
        killer = Killer(site, fragile_postgres, SEED)
        storm = Storm(site, dsn, SEED)

        wrong = await storm.during(lambda: killer.kill(kills))

    print(f"seed {SEED}: {killer.kills.total()} kills {dict(killer.kills)}")
    fragile_postgres.stop()
    await assert_nothing_left(fragile_postgres)
    assert wrong == []
    assert killer.kills.total() == kills
