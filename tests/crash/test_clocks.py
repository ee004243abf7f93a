"""Wall clocks that jump: Clerk's times decide, so nothing changes."""

import asyncio
import json
import random
import time
from pathlib import Path

import bodies
import pytest
from crash.history import Delivery, Expectation
from crash.sender import Sender
from crash.site import Site, faketime_library
from crash.storm import Storm
from stack import now_ms

SEED = 3
HOURS = 2
LIBRARY = faketime_library()

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (Debian: package faketime)")


class Clock:
    """The wall clock of a process, to be put at will; the clock that measures durations goes on."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / name
        self.put(0)

    def put(self, hours: int) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(f"{hours * 3600:+d}\n")
        written.replace(self._file)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


async def test_clocks_of_sync_services_jump(database_url: str, tmp_path: Path) -> None:
    """Two SyncServices whose clocks jump by two hours, each on its own, agree on what wins and bring nobody back."""
    clocks = [Clock(tmp_path, f"clock_{number}") for number in range(2)]

    async def jump() -> None:
        choose = random.Random(SEED)
        for _ in range(10):
            for clock in clocks:
                clock.put(choose.choice([-HOURS, 0, HOURS]))
            await asyncio.sleep(0.3)

    async with Site(database_url, fronts=1, service_variables=[clock.variables for clock in clocks]) as site:
        storm = Storm(site, database_url, SEED)

        assert await storm.during(jump) == []

        # That they did jump is told by the log.
        told = {line["timestamp"][:13] for service in site.services for line in service.running.log("call")}
    assert len(told) >= 3


async def test_clock_of_the_front_jumps(database_url: str, tmp_path: Path) -> None:
    """A front whose clock is hours off refuses signatures, so that Svix tries again; once it is right all is taken."""
    clock = Clock(tmp_path, "clock")
    expectation = Expectation()
    t = now_ms() - 1000
    told = [bodies.membership("created", f"user_{number}", "org_1", at=t, joined_at=t) for number in range(20)]
    deliveries = [Delivery(f"msg_{number}", json.dumps(body).encode()) for number, body in enumerate(told)]
    expectation.add(deliveries)
    async with Site(database_url, services=1, fronts=1, front_variables=[clock.variables]) as site:
        clock.put(HOURS)
        sender = Sender(site, SEED, expectation, refusals=frozenset({400}))
        sending = asyncio.create_task(sender.send_all(deliveries, at_once=4))
        await asyncio.sleep(0.7)
        assert not sender.acknowledged
        clock.put(-HOURS)
        await asyncio.sleep(0.7)
        assert not sender.acknowledged
        clock.put(0)
        started = time.monotonic()
        await sending

    assert sender.answers["400"] > 0
    assert sender.wrong == []
    assert time.monotonic() - started < 30
    assert len(sender.acknowledged) == len(deliveries)
