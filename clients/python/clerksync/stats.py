"""What a client counts. Plain numbers, which exporters read when they are asked: counting costs next to nothing."""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

_log = logging.getLogger("clerksync")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the latency histogram; what took longer counts in none of them."""


class Latency:
    """A histogram of seconds."""

    __slots__ = ("count", "counts", "listeners", "sum_s")

    def __init__(self) -> None:
        self.listeners: list[Callable[[float], None]] = []
        """Told each value, for exporters that keep a histogram of their own."""
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.count = 0
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.count += 1
        self.sum_s += seconds
        for listener in self.listeners:
            try:
                listener(seconds)
            except Exception as error:  # noqa: BLE001  (an exporter's trouble is not that of an answer)
                _log.error("a listener of latencies failed: %s", type(error).__name__)


@dataclass(slots=True)
class ClientStats:
    """All that a client counts since it was made, over all threads and event loops."""

    hits: int = 0
    """Answered from the cache."""
    misses: int = 0
    """Had to ask SyncService."""
    coalesced: int = 0
    """Misses among them that joined a call for the same pair that was waiting or on its way."""
    calls: int = 0
    """RPCs sent; with batches fewer than misses."""
    failures: Counter[str] = field(default_factory=Counter)
    """Misses that were not answered, by `ClerksyncError.kind`; the kind `refused` is in `refusals` instead."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Misses that were refused, by reason."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """Requests that a middleware let go on without an answer, by kind."""
    denied: int = 0
    """Requests that a middleware refused."""
    removals: int = 0
    """Removals heard of."""
    resets: int = 0
    """Times that SyncService had the whole cache dropped, because removals may have been missed."""
    breaks: int = 0
    """Times that the stream of removals ended, was silent for too long, or could not be opened."""
    latency: Latency = field(default_factory=Latency)
    """Of misses, in seconds, whatever their outcome."""
