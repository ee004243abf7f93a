"""How many calls each caller may make of this process: with three replicas it may make three times as many.

A token bucket for each identity and rate (https://en.wikipedia.org/wiki/Token_bucket), which holds what the caller may
do in a second. A batch may be larger than that: it is let through when the bucket holds anything, and paid off
afterwards. A caller has two where it may make some calls by its own entry in the policy and others by that for anybody:
neither is filled, or emptied, by what the other is for.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from clerksync_server.access.callers import Caller
from clerksync_server.errors import RateLimited

_TIDY_AT = 1000
"""So many buckets are looked through for those that are full again, which say nothing: names may come and go."""


@dataclass(slots=True)
class _Bucket:
    level: float
    """How many calls may be made now; less than 0 while a batch is paid off."""
    at: float
    """When that was true."""
    rate: int
    """Calls a second."""

    def fill(self, now: float) -> None:
        self.level = min(self.rate, self.level + (now - self.at) * self.rate)
        self.at = now


class RateLimits:
    """Keeps count of the calls of callers that have a limit."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._buckets: dict[tuple[str, int], _Bucket] = {}
        self._tidy_at = _TIDY_AT

    def take(self, caller: Caller, number: int) -> None:
        """Counts so many calls, at least one. Raises RateLimited, and counts nothing then."""
        if (rate := caller.calls_per_second) is None:
            return
        now = self._now()
        key = caller.identity, rate
        bucket = self._buckets.get(key)
        if bucket is None:
            self._tidy(now)
            bucket = self._buckets[key] = _Bucket(rate, now, rate)
        bucket.fill(now)
        if bucket.level < 1:
            raise RateLimited(max(1, math.ceil((1 - bucket.level) / rate)))
        bucket.level -= max(1, number)

    def _tidy(self, now: float) -> None:
        if len(self._buckets) < self._tidy_at:
            return
        for key, bucket in list(self._buckets.items()):
            bucket.fill(now)
            if bucket.level >= bucket.rate:
                del self._buckets[key]
        self._tidy_at = max(_TIDY_AT, 2 * len(self._buckets))
