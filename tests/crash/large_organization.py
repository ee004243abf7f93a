"""Deletes a large organization while its members' events arrive and other organizations' deliveries go on.

Measures what the others notice of it. Used by a test, and by `bench.large_organization` at full size.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import asyncpg
import bodies
from crash.site import Site
from stack import WEBHOOK_SECRET, now_ms

from clerksync_server.clock import timestamp_of
from clerksync_server.dev.sender import signed_headers

LARGE = "org_large"
_EVENTS_OF_MEMBERS = 200
_OTHERS = 10
_BEFORE_S = 2.0
_AFTER_S = 0.5
_EVERY_S = 0.02
_WITHIN_S = 300.0


@dataclass
class Latencies:
    """How long deliveries of other organizations took, in ms, and how many attempts failed."""

    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0

    def percentile(self, share: float) -> float:
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    def __str__(self) -> str:
        if not self.milliseconds:
            return f"none answered, {self.failed} failed"
        figures = [self.percentile(0.5), self.percentile(0.99), max(self.milliseconds)]
        return f"{len(self.milliseconds):6} {self.failed:6} " + " ".join(f"{figure:9.1f}" for figure in figures)


@dataclass
class Measurement:
    """What was seen."""

    members: int
    quiet: Latencies
    burst: Latencies
    during: Latencies
    deletion_s: float
    deletion_attempts: int
    event_attempts: int
    left: int

    def table(self) -> str:
        return "\n".join(
            [
                f"organization of {self.members} members: deleted in {self.deletion_s:.2f} s, "
                f"{self.deletion_attempts} attempts; {_EVENTS_OF_MEMBERS} events of its members in "
                f"{self.event_attempts} attempts; {self.left} rows left",
                "deliveries of others  answered failed    p50 ms    p99 ms    max ms",
                f"  before                {self.quiet}",
                f"  burst, no deletion    {self.burst}",
                f"  burst and deletion    {self.during}",
            ]
        )


async def measure(site: Site, dsn: str, members: int) -> Measurement:
    """On a migrated database without this organization."""
    joined_at = now_ms() - 3_600_000
    await _fill(dsn, members, joined_at)
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        run = _Run(http, site.webhook_urls)
        quiet, burst, during = Latencies(), Latencies(), Latencies()
        async with run.others(quiet):
            await asyncio.sleep(_BEFORE_S)
        # The same number of events of as many members of a small organization, to tell what the deletion adds.
        async with run.others(burst):
            await run.all_taken(_member_events("org_small", members, joined_at))
        async with run.others(during):
            started = time.monotonic()
            deletion = asyncio.create_task(
                run.until_taken("msg_delete", bodies.organization("deleted", LARGE, at=now_ms()))
            )
            attempts = await run.all_taken(_member_events(LARGE, members, joined_at))
            deletion_attempts, deleted_at = await deletion
    connection = await asyncpg.connect(dsn)
    left = await connection.fetchval("select count(*) from public.user_profile where clerk_org_id = $1", LARGE)
    left += await connection.fetchval("select count(*) from public.organization where clerk_org_id = $1", LARGE)
    await connection.close()
    return Measurement(members, quiet, burst, during, deleted_at - started, deletion_attempts, attempts, left)


async def _fill(dsn: str, members: int, joined_at: int) -> None:
    at = timestamp_of(joined_at)
    connection = await asyncpg.connect(dsn, command_timeout=120)
    try:
        await connection.execute("insert into public.organization (clerk_org_id, name) values ($1, $1)", LARGE)
        await connection.copy_records_to_table(
            "user_profile",
            records=(
                (f"user_{n}", LARGE, f"orgmem_user_{n}_{joined_at}", at, at, at, "org:member") for n in range(members)
            ),
            columns=(
                "clerk_user_id",
                "clerk_org_id",
                "clerk_membership_id",
                "membership_created_at",
                "membership_updated_at",
                "membership_event_at",
                "role",
            ),
        )
        await connection.execute("analyze public.user_profile")
    finally:
        await connection.close()


def _member_events(org: str, members: int, joined_at: int) -> list[tuple[str, bodies.Body]]:
    """Of members that there are and of new ones."""
    verbs = ("updated", "deleted", "created")
    events = []
    for number in range(_EVENTS_OF_MEMBERS):
        verb = verbs[number % 3]
        user = f"user_{members + number if verb == 'created' else number * members // _EVENTS_OF_MEMBERS}"
        body = bodies.membership(verb, user, org, at=joined_at + 1000, joined_at=joined_at)
        events.append((f"msg_{org}_{number}", body))
    return events


class _Run:
    def __init__(self, http: aiohttp.ClientSession, urls: list[str]) -> None:
        self._http = http
        self._urls = urls
        self._count = 0

    async def until_taken(self, svix_id: str, body: bodies.Body) -> tuple[int, float]:
        """Returns how many attempts it took, and when it was done."""
        attempts = 1
        while not await self._taken(svix_id, body):
            attempts += 1
            await asyncio.sleep(0.2)
        return attempts, time.monotonic()

    async def all_taken(self, events: list[tuple[str, bodies.Body]]) -> int:
        """Sends all at once; returns how many attempts it took."""
        async with asyncio.timeout(_WITHIN_S):
            taken = await asyncio.gather(*(self.until_taken(svix_id, body) for svix_id, body in events))
        return sum(attempts for attempts, _ in taken)

    @asynccontextmanager
    async def others(self, latencies: Latencies) -> AsyncIterator[None]:
        """Deliveries of other organizations at a steady rate, whether or not those before have been answered."""
        over = asyncio.Event()

        async def send() -> None:
            async with asyncio.TaskGroup() as sent:
                while not over.is_set():
                    sent.create_task(self._other(latencies))
                    await asyncio.sleep(_EVERY_S)

        sending = asyncio.create_task(send())
        try:
            yield
            await asyncio.sleep(_AFTER_S)
        finally:
            over.set()
            await sending

    async def _other(self, latencies: Latencies) -> None:
        self._count += 1
        org = f"org_other_{self._count % _OTHERS}"
        body = bodies.organization("updated", org, at=now_ms(), name=f"{org} {self._count}")
        started = time.perf_counter()
        if await self._taken(f"msg_other_{self._count}", body):
            latencies.milliseconds.append((time.perf_counter() - started) * 1000)
        else:
            latencies.failed += 1

    async def _taken(self, svix_id: str, body: bodies.Body) -> bool:
        raw = json.dumps(body).encode()
        url = self._urls[hash(svix_id) % len(self._urls)]
        try:
            async with self._http.post(url, data=raw, headers=signed_headers(WEBHOOK_SECRET, svix_id, raw)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False
