"""The phases of a load, and what is counted in them."""

import asyncio
import time
from array import array

from bench.load.jobs import Load, Phases

_LAST_ANSWERS_S = 15.0


class Clock:
    """Counts answers. Whoever sends asks `running` before each call, and tells how each ended."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases
        self._took_ns = array("q")
        self._begun_ns = self._ended_ns = 0
        self._well = self._failures = self._in_flight = 0
        self._left = phases.calls if phases.calls is not None else -1
        self._idle = asyncio.Event()
        self._over = asyncio.Event()
        self._cpu_s = 0.0
        self.running = True
        self.ran_out = False
        self.first_failure = ""

    def sent(self) -> int:
        """A call begins; returns when, in ns."""
        self._in_flight += 1
        if self._left > 0:
            self._left -= 1
            if not self._left:
                self.running = False
                self._over.set()
        return time.perf_counter_ns()

    def answered(self, sent_ns: int) -> None:
        now_ns = time.perf_counter_ns()
        self._in_flight -= 1
        self._well += 1
        if self._begun_ns and not self._ended_ns:
            self._took_ns.append(now_ns - sent_ns)
        if not self.running and not self._in_flight:
            self._idle.set()

    def failed(self, why: str) -> None:
        self._in_flight -= 1
        self._failures += 1
        self.first_failure = self.first_failure or why
        if not self.running and not self._in_flight:
            self._idle.set()

    def run_out(self) -> None:
        """There is nothing left to send."""
        self.ran_out = True
        self.running = False
        self._over.set()

    async def run(self) -> Load:
        """Waits through all phases, until the last call was answered or has had time enough for it."""
        self._cpu_s = time.process_time()
        if self._phases.calls is None:
            await self._sleep(self._phases.warm_up_s)
        self._begun_ns = time.perf_counter_ns()
        await self._sleep(self._phases.seconds)
        self.running = False
        if self._phases.calls is None:
            self._ended_ns = time.perf_counter_ns()
        if self._in_flight:
            try:
                await asyncio.wait_for(self._idle.wait(), _LAST_ANSWERS_S)
            except TimeoutError:
                self._failures += self._in_flight
                self.first_failure = self.first_failure or "no answer"
        self._ended_ns = self._ended_ns or time.perf_counter_ns()
        return self._load()

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return

    def _load(self) -> Load:
        in_all = self._well + self._failures
        took_ns = sorted(self._took_ns)
        return Load(
            calls=len(took_ns),
            failures=self._failures,
            seconds=(self._ended_ns - self._begun_ns) / 1e9,
            calls_in_all=in_all,
            p50_us=percentile(took_ns, 0.5) / 1000,
            p99_us=percentile(took_ns, 0.99) / 1000,
            generator_cpu_us=(time.process_time() - self._cpu_s) * 1e6 / max(1, in_all),
            ran_out=self.ran_out,
            first_failure=self.first_failure,
        )


def percentile(ordered: list[int], share: float) -> float:
    """Of figures in ascending order; 0 if there are none."""
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))]) if ordered else 0.0
