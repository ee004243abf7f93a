"""Deliveries and Ensure calls without a pause, while a test does its worst to the processes; then the reckoning."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator

import grpc
from crash.audit import Watch, wrong_ends
from crash.history import Chapter, Delivery, Expectation
from crash.sender import TRANSIENT, Asker, Sender
from crash.site import Site
from stack import now_ms

_HOUR_MS = 3_600_000
_DRAIN_S = 60.0


class Storm:
    """Load on a site, from a seed."""

    def __init__(
        self,
        site: Site,
        dsn: str,
        seed: int,
        *,
        at_once: int = 8,
        refusals: frozenset[int] = frozenset({503}),
        transient: frozenset[grpc.StatusCode] = TRANSIENT,
    ) -> None:
        self._dsn = dsn
        self._seed = seed
        self._at_once = at_once
        self._begin_ms = now_ms() - _HOUR_MS
        self._chapters: list[Chapter] = []
        self.expectation = Expectation()
        self.deliveries: list[Delivery] = []
        self.sender = Sender(site, seed, self.expectation, refusals=refusals)
        # Older than every removal, and so worth nothing after one.
        self.asker = Asker(site, seed, self._begin_ms - 1, transient=transient)
        self._watch = Watch(dsn, self.sender, self.expectation)

    async def during(self, worst: Callable[[], Awaitable[None]]) -> list[str]:
        """Runs `worst` under load, lets the load end, and returns everything that is wrong."""
        started = time.monotonic()
        over = asyncio.Event()
        watch = asyncio.create_task(self._watch.run())
        asker = asyncio.create_task(self._ask())
        sender = asyncio.create_task(self.sender.send_all(self._tell(over), at_once=self._at_once))
        try:
            await worst()
            over.set()
            await asyncio.wait([sender], timeout=_DRAIN_S)
        finally:
            for task in (watch, asker, sender):
                task.cancel()
                # What a task has failed with is told below, by awaiting it.
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        wrong = [*self.sender.wrong, *self.asker.wrong, *self._watch.wrong]
        wrong += [
            f"not acknowledged: {delivery.svix_id}"
            for delivery in self.deliveries
            if delivery.svix_id not in self.sender.acknowledged
        ]
        wrong += await wrong_ends(self._dsn, self.deliveries, self.expectation, self.asker)
        print(
            f"seed {self._seed}: {len(self.deliveries)} deliveries in {self.sender.attempts} attempts "
            f"{dict(self.sender.answers)}, Ensure {dict(self.asker.answers)}, {self._watch.looks} looks into the "
            f"tables, {len(wrong)} wrong ends, {time.monotonic() - started:.1f} s"
        )
        print(*wrong[:20], sep="\n")
        return wrong

    def _tell(self, over: asyncio.Event) -> Iterator[Delivery]:
        while not over.is_set():
            chapter = Chapter(self._seed, str(len(self._chapters)), self._begin_ms)
            self.expectation.add(chapter.deliveries)
            self.deliveries += chapter.deliveries
            self._chapters.append(chapter)
            yield from chapter.deliveries

    async def _ask(self) -> None:
        choose = random.Random(self._seed)
        while True:
            await asyncio.sleep(0.03)
            if not self._chapters:
                continue
            chapter = choose.choice(self._chapters[-3:])
            if choose.random() < 0.2:
                lasting = [org for org in chapter.orgs if org not in chapter.deleted_orgs]
                await self.asker.ask_for_guest(choose.choice(lasting))
            else:
                await self.asker.ask(choose.choice(chapter.pairs), self.expectation.gone)
